/// \file  The host's matrix product, and the only file that includes Eigen.
#pragma once

#include <cstddef>

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

#include "calm/compiled.hpp"
#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/few_rows.hpp"
#include "calm/tensor/cpu/memory.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/cpu/strided_product.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

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

/// Eigen's packed panels. Left to itself, Eigen asks the system for those of every product that is not small; here one
/// piece of the pool serves all parts of a product. `m`, `n` and `k` are those of all of it.
template <class T>
class Panels : public Eigen::internal::level3_blocking<T, T> {
 public:
  Panels(std::size_t m, std::size_t n, std::size_t k) {
    this->m_mc = static_cast<Eigen::Index>(n);  // Eigen computes the transposed product
    this->m_nc = static_cast<Eigen::Index>(m);
    this->m_kc = static_cast<Eigen::Index>(k);
    Eigen::internal::computeProductBlockingSizes<T, T>(this->m_kc, this->m_mc, this->m_nc, Eigen::Index{1});
  }
  /// Whether Eigen would keep both panels on the stack.
  bool small() const { return std::max(first(), second()) * sizeof(T) <= EIGEN_STACK_ALLOCATION_LIMIT; }
  std::size_t size() const { return whole_lines(first()) + whole_lines(second()); }
  void use(T* memory) {
    this->m_blockA = memory;
    this->m_blockB = memory + whole_lines(first());
  }

 private:
  std::size_t first() const { return static_cast<std::size_t>(this->m_mc * this->m_kc); }
  std::size_t second() const { return static_cast<std::size_t>(this->m_nc * this->m_kc); }
  static constexpr std::size_t whole_lines(std::size_t n) { return (n + 63) / 64 * 64; }
};

/// Eigen takes no threads of its own here, whatever a program lets it do in products of the program's.
template <bool TransposeA, bool TransposeB, class T>
void panel_product(std::size_t m, std::size_t n, std::size_t k, T alpha, MatrixRef<const T> a, MatrixRef<const T> b,
                   MatrixRef<T> c, Panels<T>& panels) {
  using Eigen::ColMajor, Eigen::Index, Eigen::RowMajor;
  Eigen::internal::general_matrix_matrix_product<Index, T, TransposeA ? ColMajor : RowMajor, false, T,
                                                 TransposeB ? ColMajor : RowMajor, false, RowMajor, 1>::
      run(static_cast<Index>(m), static_cast<Index>(n), static_cast<Index>(k), a.data, static_cast<Index>(a.stride),
          b.data, static_cast<Index>(b.stride), c.data, 1, static_cast<Index>(c.stride), alpha, panels);
}

/// Whether Eigen's panels pay; not for tiny products and those of a vector.
constexpr bool has_panels(std::size_t m, std::size_t n, std::size_t k) { return m > 1 && n > 1 && m + n + k >= 20; }

/// C += alpha · op(A) · op(B), by Eigen's expressions without `panels`.
template <bool TransposeA, bool TransposeB, class T>
void add_product(std::size_t m, std::size_t n, std::size_t k, T alpha, MatrixRef<const T> a, MatrixRef<const T> b,
                 MatrixRef<T> c, Panels<T>* panels) {
  if (panels != nullptr) {
    panel_product<TransposeA, TransposeB>(m, n, k, alpha, a, b, c, *panels);
    return;
  }
  auto C = map(c, m, n);
  if constexpr (TransposeA && TransposeB)
    C.noalias() += alpha * (map(a, k, m).transpose() * map(b, n, k).transpose());
  else if constexpr (TransposeA)
    C.noalias() += alpha * (map(a, k, m).transpose() * map(b, k, n));
  else if constexpr (TransposeB)
    C.noalias() += alpha * (map(a, m, k) * map(b, n, k).transpose());
  else
    C.noalias() += alpha * (map(a, m, k) * map(b, k, n));
}

template <class T>
void gemm_block(Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, T alpha, MatrixRef<const T> a,
                MatrixRef<const T> b, bool accumulate, MatrixRef<T> c, Panels<T>* panels) {
  if (!accumulate) map(c, m, n).setZero();
  if (k == 0) return;
  auto* const product = op_a == Op::none
                            ? (op_b == Op::none ? &add_product<false, false, T> : &add_product<false, true, T>)
                            : (op_b == Op::none ? &add_product<true, false, T> : &add_product<true, true, T>);
  product(m, n, k, alpha, a, b, c, panels);
}

/// From how many multiply-adds on a product is cut into blocks here; below, Eigen's panels take less memory.
inline constexpr std::size_t blocked_from = std::size_t{1} << 23;

/// C = A · Bᵀ for few rows of A.
template <class A, class W>
void few_rows_product(std::size_t m, std::size_t n, std::size_t k, MatrixRef<const A> a, MatrixRef<const W> b,
                      MatrixRef<A> c) {
  const std::size_t grain = std::max<std::size_t>(4, (std::size_t{1} << 16) / std::max<std::size_t>(1, m * k));
  parallel_ranges(n, grain, [=](std::size_t begin, std::size_t end) {
    multiply_few_rows(m, begin, end, k, a.data, a.stride, b.data, b.stride, c.data, c.stride);
  });
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
  if (m * n * k >= detail::blocked_from) {
    blocked_product(fastest_product<T>(), m, n, k,
                    detail::StridedLeft<T>{a.data, a.stride, op_a == Op::transpose, k, alpha},
                    detail::StridedRight<T>{b.data, b.stride, op_b == Op::transpose}, accumulate, c.data, c.stride);
    return;
  }
  // Parts end where Eigen's own blocks of rows or columns do, and are all cut along the depth as the whole would be: so
  // the bits do not depend on the number of threads.
  const bool by_rows = m >= n, in_panels = detail::has_panels(m, n, k);
  const std::size_t longer = by_rows ? m : n, unit = by_rows ? 24 : 48, units = (longer + unit - 1) / unit;
  const std::size_t enough = std::max<std::size_t>(1, m * n * k >> 18);  // parts: at least 2^18 multiply-adds a thread
  const std::size_t grain = in_panels ? std::max<std::size_t>(1, units / enough) : units;
  const detail::Panels<T> sizes(m, n, k);
  Storage<Cpu> memory;
  if (!sizes.small()) memory = Storage<Cpu>(parts_of(units, grain) * sizes.size() * sizeof(T));
  parallel_ranges(units, grain, [&](std::size_t part, std::size_t first, std::size_t last) {
    detail::Panels<T> panels = sizes;
    if (memory) panels.use(static_cast<T*>(memory.data()) + part * sizes.size());
    const std::size_t begin = first * unit, end = std::min(longer, last * unit);
    if (by_rows) {
      const T* rows = op_a == Op::none ? a.data + begin * a.stride : a.data + begin;
      detail::gemm_block<T>(op_a, op_b, end - begin, n, k, alpha, {rows, a.stride}, b, accumulate,
                            {c.data + begin * c.stride, c.stride}, in_panels ? &panels : nullptr);
    } else {
      const T* columns = op_b == Op::none ? b.data + begin : b.data + begin * b.stride;
      detail::gemm_block<T>(op_a, op_b, m, end - begin, k, alpha, a, {columns, b.stride}, accumulate,
                            {c.data + begin, c.stride}, in_panels ? &panels : nullptr);
    }
  });
}

/// The same for bf16: operands are widened to float, summed in float, and rounded once. Of few rows, the weight is
/// widened as it is read. A template only so that who does not call it does not compile Eigen's products: compilers
/// instantiate what a plain inline function uses even where nobody calls it.
template <int = 0>
void gemm(Cpu, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const bf16> a,
          MatrixRef<const bf16> b, bool accumulate, MatrixRef<bf16> c) {
  const auto widen = [](MatrixRef<const bf16> x, std::size_t rows, std::size_t cols) {
    Storage<Cpu> wide(rows * cols * sizeof(float));
    auto* out = static_cast<float*>(wide.data());
    for (std::size_t r = 0; r < rows; ++r) copy(Cpu{}, cols, x.data + r * x.stride, out + r * cols);
    return wide;
  };
  if (op_a == Op::none && op_b == Op::transpose && m <= detail::few_rows<bf16> && alpha == 1 && !accumulate) {
    const Storage<Cpu> left = widen(a, m, k), sums(m * n * sizeof(float));
    auto* y = static_cast<float*>(sums.data());
    detail::few_rows_product<float, bf16>(m, n, k, {static_cast<const float*>(left.data()), k}, b, {y, n});
    for (std::size_t r = 0; r < m; ++r) copy(Cpu{}, n, y + r * n, c.data + r * c.stride);
    return;
  }
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

#ifdef CALM_COMPILED
CALM_EXTERN template void gemm<float>(Cpu, Op, Op, std::size_t, std::size_t, std::size_t, float, MatrixRef<const float>,
                                      MatrixRef<const float>, bool, MatrixRef<float>);
CALM_EXTERN template void gemm<double>(Cpu, Op, Op, std::size_t, std::size_t, std::size_t, double,
                                       MatrixRef<const double>, MatrixRef<const double>, bool, MatrixRef<double>);
CALM_EXTERN template void gemm<0>(Cpu, Op, Op, std::size_t, std::size_t, std::size_t, float, MatrixRef<const bf16>,
                                  MatrixRef<const bf16>, bool, MatrixRef<bf16>);
#endif

}  // namespace calm::kernel
