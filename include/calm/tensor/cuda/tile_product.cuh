/// \file  Products of tiles in shared memory on the tensor cores: of 64 rows at a time, 16 for each warp of a team.
///
/// On Hopper (sm_90a) all four warps multiply together, else each by itself. On the host both are followed, and must be
/// the same.
#pragma once

#include "calm/tensor/cuda/fragment.cuh"
#include "calm/tensor/cuda/warpgroup.cuh"

namespace calm::cuda {

/// Rows of chunk m that a warp has; `multiply_rows` and all that follows keep to it.
CALM_KERNEL inline unsigned row_of_warp(const Warp& warp, unsigned m) {
  return (m * WarpTeam::warps + warp.number) * 16;
}

/// 16 columns, from k on, of the left factor of `multiply_columns`, rounded: sums of two tiles are, lane by lane, where
/// its elements have to be.
template <unsigned N>
CALM_KERNEL void pack_left(const Warp& warp, Lanes<Quad>& left, const Lanes<Sums<N>>& weights, unsigned k) {
  warp.each([&](unsigned lane) {
    CALM_UNROLL for (unsigned r = 0; r < 4; ++r) {
      const float(&w)[4] = weights[lane].of[k / 8 + r / 2];
      left[lane].of[r] = pack(w[r % 2 * 2], w[r % 2 * 2 + 1]);
    }
  });
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// c[m] = rows 64 m to 64 m + 63 of a · the rows of b, turned.
template <unsigned M, class TileA, class TileB>
__device__ void multiply_rows(const Warp&, Lanes<Sums<TileB::rows / 8>> (&c)[M], const TileA& a, const TileB& b) {
  constexpr unsigned columns = TileB::rows % 64 == 0 ? 64 : 32;
  begin_products();
  CALM_UNROLL for (unsigned k = 0; k < TileA::width; k += 16) {
    CALM_UNROLL for (unsigned m = 0; m < M; ++m) {
      CALM_UNROLL for (unsigned n = 0; n < TileB::rows; n += columns) {
        group_multiply_rows<columns>(c[m][0].of + n / 8, left_of(a, 64 * m, k), left_of(b, n, k), k > 0);
      }
    }
  }
  end_products();
  settle(c);
}

/// c[m] += weights[m], rounded, · b.
template <unsigned M, class TileB>
__device__ void multiply_columns(const Warp& warp, Lanes<Sums<TileB::width / 8>> (&c)[M],
                                 const Lanes<Sums<TileB::rows / 8>> (&weights)[M], const TileB& b) {
  Lanes<Quad> left[M][TileB::rows / 16];
  CALM_UNROLL for (unsigned m = 0; m < M; ++m) {
    CALM_UNROLL for (unsigned k = 0; k < TileB::rows; k += 16) {
      pack_left(warp, left[m][k / 16], weights[m], k);
      CALM_UNROLL for (std::uint32_t& pair : left[m][k / 16][0].of) asm volatile("" : "+r"(pair)::"memory");
    }
  }
  settle(c);
  begin_products();
  CALM_UNROLL for (unsigned k = 0; k < TileB::rows; k += 16) {
    CALM_UNROLL for (unsigned m = 0; m < M; ++m) {
      CALM_UNROLL for (unsigned n = 0; n < TileB::width; n += 64) {
        group_multiply_columns(c[m][0].of + n / 8, left[m][k / 16][0], right_of(b, k, n));
      }
    }
  }
  end_products();
  settle(c);
}

#else

template <unsigned M, class TileA, class TileB>
CALM_KERNEL void multiply_rows(const Warp& warp, Lanes<Sums<TileB::rows / 8>> (&c)[M], const TileA& a,
                               const TileB& b) {
  warp.each([&](unsigned lane) {
    CALM_UNROLL for (unsigned m = 0; m < M; ++m) {
      CALM_UNROLL for (auto& tile : c[m][lane].of) tile[0] = tile[1] = tile[2] = tile[3] = 0;
    }
  });
  CALM_UNROLL for (unsigned k = 0; k < TileA::width; k += 16) {
    Lanes<Quad> left[M];
    CALM_UNROLL for (unsigned m = 0; m < M; ++m) {
      load_matrices<false>(warp, left[m], [&](unsigned lane) {
        return a.at(row_of_warp(warp, m) + lane % 16, k + lane / 16 * 8);
      });
    }
    CALM_UNROLL for (unsigned n = 0; n < TileB::rows; n += 16) {
      Lanes<Quad> right;
      load_matrices<false>(warp, right, [&](unsigned lane) {
        return b.at(n + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 8);
      });
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        CALM_UNROLL for (unsigned m = 0; m < M; ++m) multiply_add(warp, c[m], n / 8 + half, left[m], right, half);
      }
    }
  }
#ifndef __CUDACC__
  for (unsigned m = 0; m < M; ++m) follow_rows(warp, c[m], a, b, m);
#endif
}

template <unsigned M, class TileB>
CALM_KERNEL void multiply_columns(const Warp& warp, Lanes<Sums<TileB::width / 8>> (&c)[M],
                                  const Lanes<Sums<TileB::rows / 8>> (&weights)[M], const TileB& b) {
#ifndef __CUDACC__
  const std::vector<Lanes<Sums<TileB::width / 8>>> before(c, c + M);
#endif
  CALM_UNROLL for (unsigned k = 0; k < TileB::rows; k += 16) {
    Lanes<Quad> left[M];
    CALM_UNROLL for (unsigned m = 0; m < M; ++m) pack_left(warp, left[m], weights[m], k);
    CALM_UNROLL for (unsigned n = 0; n < TileB::width; n += 16) {
      Lanes<Quad> right;
      load_matrices<true>(warp, right, [&](unsigned lane) { return b.at(k + lane % 16, n + lane / 16 * 8); });
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        CALM_UNROLL for (unsigned m = 0; m < M; ++m) multiply_add(warp, c[m], n / 8 + half, left[m], right, half);
      }
    }
  }
#ifndef __CUDACC__
  for (unsigned m = 0; m < M; ++m) follow_columns(warp, before[m], c[m], weights[m], b);
#endif
}

#endif

}  // namespace calm::cuda
