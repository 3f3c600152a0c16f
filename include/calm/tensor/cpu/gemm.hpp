/// \file  The host's matrix product, and the only file that includes Eigen.
#pragma once

#include <cstddef>

#ifndef EIGEN_DONT_PARALLELIZE
#define EIGEN_DONT_PARALLELIZE  // threads are cut here, over rows or columns
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#endif
#include <Eigen/Core>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "calm/tensor/cpu/memory.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

enum class Op : bool { none, transpose };

/// A row-major matrix with `stride` elements from one row to the next.
template <class T>
struct MatrixRef {
  T* data;
  std::size_t stride;
};

namespace detail {

template <class T>
using EigenRowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using EigenView = Eigen::Map<const EigenRowMajor<T>, 0, Eigen::OuterStride<>>;
template <class T>
using EigenOut = Eigen::Map<EigenRowMajor<T>, 0, Eigen::OuterStride<>>;

template <class M>
auto map(const MatrixRef<M>& m, std::size_t rows, std::size_t cols) {
  using View = std::conditional_t<std::is_const_v<M>, EigenView<std::remove_const_t<M>>, EigenOut<M>>;
  return View(m.data, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(cols),
              Eigen::OuterStride<>(static_cast<Eigen::Index>(m.stride)));
}

template <class T>
void gemm_block(Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, T alpha, MatrixRef<const T> a,
                MatrixRef<const T> b, bool accumulate, MatrixRef<T> c) {
  auto C = map(c, m, n);
  if (!accumulate) C.setZero();
  if (op_a == Op::none && op_b == Op::none) C.noalias() += alpha * (map(a, m, k) * map(b, k, n));
  else if (op_a == Op::none) C.noalias() += alpha * (map(a, m, k) * map(b, n, k).transpose());
  else if (op_b == Op::none) C.noalias() += alpha * (map(a, k, m).transpose() * map(b, k, n));
  else C.noalias() += alpha * (map(a, k, m).transpose() * map(b, n, k).transpose());
}

}  // namespace detail

/// C = alpha · op(A) · op(B) (+ C if accumulate), with C: m × n and the inner extent k. Sums are kept in T.
template <class T>
  requires(std::is_same_v<T, float> || std::is_same_v<T, double>)
void gemm(Cpu, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, T alpha, MatrixRef<const T> a,
          MatrixRef<const T> b, bool accumulate, MatrixRef<T> c) {
  if (m == 0 || n == 0) return;
  const std::size_t work = m * n * k;
  const std::size_t grain_parts = std::max<std::size_t>(1, work >> 18);  // at least 2^18 multiply-adds a thread
  if (m >= n) {
    parallel_ranges(m, std::max<std::size_t>(1, m / grain_parts), [&](std::size_t begin, std::size_t end) {
      const T* rows = op_a == Op::none ? a.data + begin * a.stride : a.data + begin;
      detail::gemm_block<T>(op_a, op_b, end - begin, n, k, alpha, {rows, a.stride}, b, accumulate,
                            {c.data + begin * c.stride, c.stride});
    });
  } else {
    parallel_ranges(n, std::max<std::size_t>(1, n / grain_parts), [&](std::size_t begin, std::size_t end) {
      const T* columns = op_b == Op::none ? b.data + begin : b.data + begin * b.stride;
      detail::gemm_block<T>(op_a, op_b, m, end - begin, k, alpha, a, {columns, b.stride}, accumulate,
                            {c.data + begin, c.stride});
    });
  }
}

/// The same for bf16: operands are widened to float, summed in float, and rounded once.
inline void gemm(Cpu, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha,
                 MatrixRef<const bf16> a, MatrixRef<const bf16> b, bool accumulate, MatrixRef<bf16> c) {
  const auto widen = [](MatrixRef<const bf16> x, std::size_t rows, std::size_t cols) {
    Storage<Cpu> wide(rows * cols * sizeof(float));
    auto* out = static_cast<float*>(wide.data());
    for (std::size_t r = 0; r < rows; ++r) copy(Cpu{}, cols, x.data + r * x.stride, out + r * cols);
    return wide;
  };
  const std::size_t a_rows = op_a == Op::none ? m : k, a_cols = op_a == Op::none ? k : m;
  const std::size_t b_rows = op_b == Op::none ? k : n, b_cols = op_b == Op::none ? n : k;
  const Storage<Cpu> wide_a = widen(a, a_rows, a_cols), wide_b = widen(b, b_rows, b_cols);
  const Storage<Cpu> wide_c = widen({c.data, c.stride}, m, accumulate ? n : 0);
  const Storage<Cpu> result = accumulate ? wide_c : Storage<Cpu>(m * n * sizeof(float));
  auto* out = static_cast<float*>(result.data());
  gemm<float>(Cpu{}, op_a, op_b, m, n, k, alpha, {static_cast<const float*>(wide_a.data()), a_cols},
              {static_cast<const float*>(wide_b.data()), b_cols}, accumulate, {out, n});
  for (std::size_t r = 0; r < m; ++r) copy(Cpu{}, n, out + r * n, c.data + r * c.stride);
}

}  // namespace calm::kernel
