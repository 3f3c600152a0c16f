/// \file  Products without cuBLASLt: of one row with a matrix, which is what decoding one text is made of, bound by the
/// matrix's bytes; and those whose sums have no terms.
#pragma once

#include "calm/tensor/cuda/pack.cuh"

namespace calm::cuda {

/// y[o] = alpha · Σ_i x[i] · w[o, i] (+ y[o]), a warp for each o, whose threads have `Loads` packs of w on their way at
/// a time.
template <std::size_t N, std::size_t Loads, class T, class R>
struct OneRow {
  using A = Accumulator<T>;
  std::size_t k, stride;
  A alpha;
  const T *x, *w;
  bool accumulate;
  R* y;
  CALM_KERNEL void operator()(const Team& team, std::size_t o) const {
    const T* row = w + o * stride;
    const std::size_t part = k / Loads;
    const A dot = team.template sum<A>(part / N, [&](std::size_t i) {
      Pack<T, N> a[Loads], b[Loads];
      for (std::size_t l = 0; l < Loads; ++l) {
        b[l] = load<N>(row + l * part + i * N);
        a[l] = load<N>(x + l * part + i * N);
      }
      A sum = 0;
      for (std::size_t l = 0; l < Loads; ++l) {
        for (std::size_t j = 0; j < N; ++j) sum += wide(a[l].at[j]) * wide(b[l].at[j]);
      }
      return sum;
    });
    team.each(1, [&](std::size_t) {
      y[o] = narrow<R>(static_cast<Accumulator<R>>(alpha * dot) + (accumulate ? wide(y[o]) : Accumulator<R>(0)));
    });
  }
};

/// x · Wᵀ if it is of one row whose elements, and those of W's rows, come in packs; else false.
template <class A, class T, class R>
bool one_row(kernel::Op op_x, kernel::Op op_w, std::size_t m, std::size_t n, std::size_t k, std::size_t stride, A alpha,
             const T* x, const T* w, bool accumulate, R* y) {
  constexpr std::size_t width = pack_width<T>;
  const bool fits = m == 1 && op_x == kernel::Op::none && op_w == kernel::Op::transpose && k % width == 0 &&
                    stride % width == 0 && in_packs(x, w);
  if (fits && k % (4 * width) == 0)
    teams("one_row", n, 1, OneRow<width, 4, T, R>{k, stride, alpha, x, w, accumulate, y});
  else if (fits)
    teams("one_row", n, 1, OneRow<width, 1, T, R>{k, stride, alpha, x, w, accumulate, y});
  return fits;
}

/// c[i, j] = 0
template <class R>
struct FillZero {
  std::size_t n;
  kernel::MatrixRef<R> c;
  CALM_KERNEL void operator()(std::size_t i) const { c.data[i / n * c.stride + i % n] = narrow<R>(0); }
};

/// A product whose sums have no terms (k = 0), for which cuBLASLt need not have an algorithm; else false.
template <class R>
bool no_terms(std::size_t m, std::size_t n, std::size_t k, bool accumulate, kernel::MatrixRef<R> c) {
  if (k == 0 && !accumulate) each("no_terms", m * n, FillZero<R>{n, c});
  return k == 0;
}

}  // namespace calm::cuda
