/// \file  Products without cuBLASLt: of one row with a matrix, which is what decoding one text is made of, bound by the
/// matrix's bytes; and those whose sums have no terms.
#pragma once

#include "calm/tensor/cuda/pack.cuh"
#include "calm/tensor/cuda/warps.cuh"

namespace calm::cuda {

/// y[o] = alpha · Σ_i x[i] · w[o, i] (+ y[o]), a warp for each o, whose lanes have `Loads` packs of w on their way at a
/// time. Four to a team: with one to a team, starting teams would take as long as reading rows of some KiB.
template <std::size_t N, std::size_t Loads, class T, class R>
struct OneRow {
  using A = Accumulator<T>;
  static constexpr int teams_per_processor = 8;
  static constexpr std::size_t shared_bytes = 0;

  std::size_t n, k, stride;
  A alpha;
  const T *x, *w;
  bool accumulate;
  R* y;

  CALM_KERNEL void operator()(const WarpTeam& team, std::size_t item) const {
    team.each_warp([&](const Warp& warp) {
      const std::size_t o = item * WarpTeam::warps + warp.number;
      if (o >= n) return;
      Lanes<A> dot;
      warp.each([&](unsigned lane) { dot[lane] = part_of(w + o * stride, lane); });
      warp.fold<32>(dot, Sum{});
      warp.each([&](unsigned lane) {
        if (lane > 0) return;
        const Accumulator<R> before = accumulate ? wide(y[o]) : Accumulator<R>(0);
        y[o] = narrow<R>(static_cast<Accumulator<R>>(alpha * dot[lane]) + before);
      });
    });
  }

 private:
  CALM_KERNEL A part_of(const T* row, unsigned lane) const {
    const std::size_t part = k / Loads;
    A sum = 0;
    for (std::size_t i = lane * N; i < part; i += 32 * N) {
      Pack<T, N> a[Loads], b[Loads];
      for (std::size_t l = 0; l < Loads; ++l) {
        b[l] = load<N>(row + l * part + i);
        a[l] = load<N>(x + l * part + i);
      }
      for (std::size_t l = 0; l < Loads; ++l) {
        for (std::size_t j = 0; j < N; ++j) sum += wide(a[l].at[j]) * wide(b[l].at[j]);
      }
    }
    return sum;
  }
};

/// x · Wᵀ if it is of one row whose elements, and those of W's rows, come in packs; else false.
template <class A, class T, class R>
bool one_row(kernel::Op op_x, kernel::Op op_w, std::size_t m, std::size_t n, std::size_t k, std::size_t stride, A alpha,
             const T* x, const T* w, bool accumulate, R* y) {
  constexpr std::size_t width = pack_width<T>;
  const bool fits = m == 1 && op_x == kernel::Op::none && op_w == kernel::Op::transpose && k % width == 0 &&
                    stride % width == 0 && in_packs(x, w);
  const std::size_t teams = (n + WarpTeam::warps - 1) / WarpTeam::warps;
  if (fits && k % (4 * width) == 0)
    warp_teams("one_row", teams, OneRow<width, 4, T, R>{n, k, stride, alpha, x, w, accumulate, y});
  else if (fits)
    warp_teams("one_row", teams, OneRow<width, 1, T, R>{n, k, stride, alpha, x, w, accumulate, y});
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
