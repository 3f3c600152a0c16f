/// \file  The host's matrix product.
#pragma once

#include <cstddef>

#include "calm/compiled.hpp"
#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/few_rows.hpp"
#include "calm/tensor/cpu/memory.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/cpu/strided_product.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

namespace detail {

/// C = A · Bᵀ for few rows of A.
template <class A, class W>
void few_rows_product(std::size_t m, std::size_t n, std::size_t k, MatrixRef<const A> a, MatrixRef<const W> b,
                      MatrixRef<A> c) {
  const std::size_t grain = std::max<std::size_t>(4, (std::size_t{1} << 16) / std::max<std::size_t>(1, m * k));
  parallel_ranges(n, grain, [=](std::size_t begin, std::size_t end) {
    multiply_few_rows(m, begin, end, k, a.data, a.stride, b.data, b.stride, c.data, c.stride);
  });
}

template <class T>
Storage<Cpu> widened(MatrixRef<const T> x, std::size_t rows, std::size_t cols) {
  Storage<Cpu> wide(rows * cols * sizeof(float));
  auto* out = static_cast<float*>(wide.data());
  for (std::size_t r = 0; r < rows; ++r) copy(Cpu{}, cols, x.data + r * x.stride, out + r * cols);
  return wide;
}

}  // namespace detail

/// C = alpha · op(A) · op(B) (+ C if accumulate), with C: m × n and the inner extent k. Sums are kept in T.
template <class T>
  requires(std::is_same_v<T, float> || std::is_same_v<T, double>)
void gemm(Cpu, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, T alpha, MatrixRef<const T> a,
          MatrixRef<const T> b, bool accumulate, MatrixRef<T> c) {
  if (m == 0 || n == 0) return;
  if (op_a == Op::none && op_b == Op::transpose && m <= detail::few_rows<T> && alpha == T(1) && !accumulate) {
    detail::few_rows_product(m, n, k, a, b, c);
    return;
  }
  detail::strided_product(m, n, detail::StridedLeft<T>{a.data, a.stride, op_a == Op::transpose, k, alpha},
                          detail::StridedRight<T>{b.data, b.stride, op_b == Op::transpose}, accumulate, c.data,
                          c.stride);
}

namespace detail {

/// The same for 16-bit types: operands are widened to float, summed in float, and rounded once.
template <class T>
void widened_gemm(Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const T> a,
                  MatrixRef<const T> b, bool accumulate, MatrixRef<T> c) {
  const std::size_t a_rows = op_a == Op::none ? m : k, a_cols = op_a == Op::none ? k : m;
  const std::size_t b_rows = op_b == Op::none ? k : n, b_cols = op_b == Op::none ? n : k;
  const Storage<Cpu> wide_a = widened(a, a_rows, a_cols), wide_b = widened(b, b_rows, b_cols);
  const Storage<Cpu> wide_c = widened(MatrixRef<const T>{c.data, c.stride}, m, accumulate ? n : 0);
  const Storage<Cpu> result = accumulate ? wide_c : Storage<Cpu>(m * n * sizeof(float));
  auto* out = static_cast<float*>(result.data());
  gemm<float>(Cpu{}, op_a, op_b, m, n, k, alpha, {static_cast<const float*>(wide_a.data()), a_cols},
              {static_cast<const float*>(wide_b.data()), b_cols}, accumulate, {out, n});
  for (std::size_t r = 0; r < m; ++r) copy(Cpu{}, n, out + r * n, c.data + r * c.stride);
}

}  // namespace detail

/// In bf16. Of few rows, the weight is widened as it is read. A template only so that who does not call it does not
/// compile float's products: compilers instantiate what a plain inline function uses even where nobody calls it.
template <int = 0>
void gemm(Cpu, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const bf16> a,
          MatrixRef<const bf16> b, bool accumulate, MatrixRef<bf16> c) {
  if (op_a == Op::none && op_b == Op::transpose && m <= detail::few_rows<bf16> && alpha == 1 && !accumulate) {
    const Storage<Cpu> left = detail::widened(a, m, k), sums(m * n * sizeof(float));
    auto* y = static_cast<float*>(sums.data());
    detail::few_rows_product<float, bf16>(m, n, k, {static_cast<const float*>(left.data()), k}, b, {y, n});
    for (std::size_t r = 0; r < m; ++r) copy(Cpu{}, n, y + r * n, c.data + r * c.stride);
    return;
  }
  detail::widened_gemm(op_a, op_b, m, n, k, alpha, a, b, accumulate, c);
}

/// In f16.
template <int = 0>
void gemm(Cpu, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const f16> a,
          MatrixRef<const f16> b, bool accumulate, MatrixRef<f16> c) {
  detail::widened_gemm(op_a, op_b, m, n, k, alpha, a, b, accumulate, c);
}

#ifdef CALM_COMPILED
CALM_EXTERN template void gemm<float>(Cpu, Op, Op, std::size_t, std::size_t, std::size_t, float, MatrixRef<const float>,
                                      MatrixRef<const float>, bool, MatrixRef<float>);
CALM_EXTERN template void gemm<double>(Cpu, Op, Op, std::size_t, std::size_t, std::size_t, double,
                                       MatrixRef<const double>, MatrixRef<const double>, bool, MatrixRef<double>);
CALM_EXTERN template void gemm<0>(Cpu, Op, Op, std::size_t, std::size_t, std::size_t, float, MatrixRef<const bf16>,
                                  MatrixRef<const bf16>, bool, MatrixRef<bf16>);
#endif

}  // namespace calm::kernel
