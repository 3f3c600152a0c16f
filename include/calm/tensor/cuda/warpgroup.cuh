/// \file  Products of a whole team on Hopper's tensor cores (PTX ISA, "wgmma.mma_async"): four warps multiply 64 rows,
/// with the right factor, and the left one unless it is in registers, read from shared memory by the tensor cores.
///
/// A warp's sums and left factors are where mma.m16n8k16 has them, 16 rows for each warp, and SharedTile is the
/// instruction's layout of 128-byte swizzles; so kernels need not know. On the host what a descriptor says is followed
/// element by element.
#pragma once

#include <string>

#include "calm/tensor/cuda/fragment.cuh"
#include "calm/tensor/error.hpp"

namespace calm::cuda {

/// Where a factor is: rows of 64 columns, 128 bytes, eight rows in each 1024 bytes. Its 16-byte pieces are exchanged by
/// bits 7 to 9 of their addresses, so tiles begin at multiples of 1024 bytes.
struct Descriptor {
#ifdef __CUDACC__
  std::uint64_t bits;

  __device__ explicit Descriptor(const bf16* start)
      : bits(static_cast<std::uint64_t>((__cvta_generic_to_shared(start) & 0x3ffff) >> 4) | std::uint64_t{1} << 16 |
             std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62) {}
#else
  std::uintptr_t start;

  explicit Descriptor(const bf16* at) : start(reinterpret_cast<std::uintptr_t>(at)) {}
  /// What the instruction reads as this element.
  float operator()(unsigned row, unsigned column) const {
    const std::uintptr_t place = start + row * 128 + column * 2;
    return *reinterpret_cast<const bf16*>(place ^ (place >> 7 & 7) << 4);
  }
#endif
};

/// Rows from `row` on, 16 columns from `column` on, which are summed over; and a right factor's 16 rows from `row` on,
/// which are summed over, of 64 columns.
template <class Tile>
CALM_KERNEL Descriptor left_of(const Tile& tile, unsigned row, unsigned column) {
  return Descriptor(tile.data + (column / 64 * Tile::rows + row) * 64 + column % 64);
}
template <class Tile>
CALM_KERNEL Descriptor right_of(const Tile& tile, unsigned row, unsigned column) {
  return Descriptor(tile.data + (column / 64 * Tile::rows + row) * 64);
}

#ifdef __CUDACC__

// The instruction's operands: 4 sums of each tile of 8 columns.
#define CALM_SUMS(t) "+f"(d[t][0]), "+f"(d[t][1]), "+f"(d[t][2]), "+f"(d[t][3])
#define CALM_SUMS_4(t) CALM_SUMS(t), CALM_SUMS(t + 1), CALM_SUMS(t + 2), CALM_SUMS(t + 3)

/// d (+)= 64 rows of a · the rows of b, turned: 32 or 64 of these, over 16 columns.
template <unsigned Columns>
__device__ void group_multiply_rows(float (*d)[4], const Descriptor& a, const Descriptor& b, bool add) {
  static_assert(Columns == 32 || Columns == 64);
  if constexpr (Columns == 64) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, p, 1, 1, 0, 0;}"
        : CALM_SUMS_4(0), CALM_SUMS_4(4) : "l"(a.bits), "l"(b.bits), "r"(int{add}));
  } else {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, %16, %17, p, 1, 1, 0, 0;}"
        : CALM_SUMS_4(0) : "l"(a.bits), "l"(b.bits), "r"(int{add}));
  }
}

/// d += a in registers · 16 rows of b, of which 64 columns.
__device__ inline void group_multiply_columns(float (*d)[4], const Quad& a, const Descriptor& b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
      : CALM_SUMS_4(0), CALM_SUMS_4(4) : "r"(a.of[0]), "r"(a.of[1]), "r"(a.of[2]), "r"(a.of[3]), "l"(b.bits));
}
#undef CALM_SUMS_4
#undef CALM_SUMS

/// What was computed for c stands in its registers here, and what follows reads it from there.
template <unsigned M, unsigned N>
__device__ void settle(Lanes<Sums<N>> (&c)[M]) {
  CALM_UNROLL for (unsigned m = 0; m < M; ++m) {
    CALM_UNROLL for (auto& tile : c[m][0].of) {
      CALM_UNROLL for (float& x : tile) asm volatile("" : "+f"(x)::"memory");
    }
  }
}
/// Before a group of products, and behind it, when they are made.
__device__ inline void begin_products() {
  __syncwarp();
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

#else

/// Requires that a warp's sums c are `before` + Σ left(row, k) · right(k, column), in the instruction's order.
template <unsigned N, class Left, class Right>
void follow(const Warp& warp, unsigned depth, const Lanes<Sums<N>>* before, const Lanes<Sums<N>>& c, const Left& left,
            const Right& right) {
  warp.each([&](unsigned lane) {
    for (unsigned i = 0; i < 4 * N; ++i) {
      const unsigned t = i / 4, row = lane / 4 + i % 4 / 2 * 8, column = 8 * t + lane % 4 * 2 + i % 2;
      float sum = before ? (*before)[lane].of[t][i % 4] : 0.0f;
      for (unsigned k = 0; k < depth; k += 16) {
        float part = 0;
        for (unsigned l = k; l < k + 16; ++l) part += left(row, l) * right(l, column);
        sum += part;
      }
      const float is = c[lane].of[t][i % 4];
      calm::detail::require(is == sum || (std::isnan(is) && std::isnan(sum)), [] {
        return std::string("calm::cuda: the products of a warp and of four are not the same");
      });
    }
  });
}
template <class TileA, class TileB>
void follow_rows(const Warp& warp, const Lanes<Sums<TileB::rows / 8>>& c, const TileA& a, const TileB& b, unsigned m) {
  constexpr unsigned columns = TileB::rows % 64 == 0 ? 64 : 32;
  follow<TileB::rows / 8>(warp, TileA::width, nullptr, c, [&](unsigned row, unsigned k) {
    return left_of(a, 64 * m, k / 16 * 16)(warp.number * 16 + row, k % 16);
  }, [&](unsigned k, unsigned column) {
    return left_of(b, column / columns * columns, k / 16 * 16)(column % columns, k % 16);
  });
}
template <class TileB>
void follow_columns(const Warp& warp, const Lanes<Sums<TileB::width / 8>>& before,
                    const Lanes<Sums<TileB::width / 8>>& c, const Lanes<Sums<TileB::rows / 8>>& weights,
                    const TileB& b) {
  follow<TileB::width / 8>(warp, TileB::rows, &before, c, [&](unsigned row, unsigned k) {
    const unsigned lane = row % 8 * 4 + k % 8 / 2;  // where a left factor's element is
    return static_cast<float>(bf16(weights[lane].of[k / 8][row / 8 * 2 + k % 2]));
  }, [&](unsigned k, unsigned column) {
    return right_of(b, k / 16 * 16, column / 64 * 64)(k % 16, column % 64);
  });
}

#endif

}  // namespace calm::cuda
