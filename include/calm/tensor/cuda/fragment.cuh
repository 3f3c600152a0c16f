/// \file  The tensor cores' instructions for a warp: tiles in shared memory, and what each lane holds of a matrix.
///
/// The instructions are `mma.m16n8k16` on bf16 with sums in fp32 and `ldmatrix` (PTX ISA, "Matrix Fragments for
/// mma.m16n8k16 with floating point type" and "ldmatrix"). On the host they are written out, lane by lane.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/warps.cuh"

namespace calm::cuda {

/// Four registers of two bf16 each, the first in the lower half: 16 × 16 elements of a left factor (lane l: rows l/4
/// and l/4 + 8, columns 2(l%4), + 1, and those 8 further), or 16 × 8 elements of a right one twice.
struct Quad {
  std::uint32_t of[4];
};

/// Sums in fp32 of 16 rows and 8 N columns: of[n] holds row l/4, columns 8n + 2(l%4), + 1, and the same of row
/// l/4 + 8.
template <unsigned N>
struct Sums {
  float of[N][4];
};

/// What calls f(element, j) for a lane's elements of one of its two rows; j is its first column and those that follow.
template <unsigned N>
CALM_KERNEL auto row_of(Sums<N>& s, unsigned half, Index first) {
  return [&s, half, first](const auto& f) {
    CALM_UNROLL for (unsigned t = 0; t < N; ++t) {
      f(s.of[t][2 * half], first + static_cast<Index>(8 * t));
      f(s.of[t][2 * half + 1], first + static_cast<Index>(8 * t + 1));
    }
  };
}

/// As above for the same elements of two matrices: f(element, element of the other, j).
template <unsigned N, class F>
CALM_KERNEL void each_pair(Sums<N>& a, Sums<N>& b, unsigned half, Index first, const F& f) {
  CALM_UNROLL for (unsigned t = 0; t < N; ++t) {
    CALM_UNROLL for (unsigned c = 0; c < 2; ++c) {
      f(a.of[t][2 * half + c], b.of[t][2 * half + c], first + static_cast<Index>(8 * t + c));
    }
  }
}

/// R rows of W bf16, in panels of 64 columns. The 16-byte pieces of a panel's row are exchanged by the row's number, so
/// that eight rows at one column stand in different banks.
template <unsigned R, unsigned W>
struct SharedTile {
  static_assert(W % 64 == 0 && R % 16 == 0);
  static constexpr unsigned rows = R, width = W, elements = R * W, pieces = elements / 8;
  bf16* data;

  CALM_KERNEL bf16* at(unsigned row, unsigned column) const {
    return data + (column / 64 * R + row) * 64 + (column / 8 ^ row) % 8 * 8;
  }
};

/// Two numbers rounded to bf16 in one register, `lower` in its lower half.
CALM_KERNEL inline std::uint32_t pack(float lower, float upper) {
#ifdef __CUDACC__
  std::uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(upper), "f"(lower));
  return both;
#else
  return bf16(lower).bits | static_cast<std::uint32_t>(bf16(upper).bits) << 16;
#endif
}

/// Two neighbours, rounded, at an even place; the second function adds to what is there.
CALM_KERNEL inline void store_two(bf16* to, float lower, float upper) {
#ifdef __CUDACC__
  *reinterpret_cast<std::uint32_t*>(to) = pack(lower, upper);
#else
  to[0] = bf16(lower);
  to[1] = bf16(upper);
#endif
}
CALM_KERNEL inline void add_two(bf16* to, float lower, float upper) {
  store_two(to, wide(to[0]) + lower, wide(to[1]) + upper);
}

/// to += scale · one of a lane's two rows, of which the first `width` columns exist.
template <unsigned N>
CALM_KERNEL void add_row(const Sums<N>& s, unsigned half, unsigned lane, float scale, std::size_t width, bf16* to) {
  CALM_UNROLL for (unsigned t = 0; t < N; ++t) {
    const unsigned c = 8 * t + lane % 4 * 2;
    if (c < width) add_two(to + c, scale * s.of[t][2 * half], scale * s.of[t][2 * half + 1]);
  }
}

#ifdef __CUDACC__

/// Four matrices of 8 × 8 elements: lanes 8m to 8m + 7 say with `at` where the rows of matrix m are.
template <bool Turned, class At>
__device__ void load_matrices(const Warp&, Lanes<Quad>& to, const At& at) {
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(at(threadIdx.x % 32)));
  std::uint32_t(&r)[4] = to[0].of;
  if constexpr (Turned) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from));
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from));
  }
}

/// c.of[tile] += a · the half of b.
template <unsigned N>
__device__ void multiply_add(const Warp&, Lanes<Sums<N>>& c, unsigned tile, const Lanes<Quad>& a,
                             const Lanes<Quad>& b, unsigned half) {
  float(&d)[4] = c[0].of[tile];
  const std::uint32_t(&x)[4] = a[0].of;
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(b[0].of[2 * half]), "r"(b[0].of[2 * half + 1]));
}

#else

template <bool Turned, class At>
void load_matrices(const Warp& warp, Lanes<Quad>& to, const At& at) {
  const std::uint16_t* rows[32];
  warp.each([&](unsigned lane) { rows[lane] = &at(lane)->bits; });
  warp.each([&](unsigned lane) {
    const unsigned outer = lane / 4, inner = lane % 4 * 2;
    for (unsigned m = 0; m < 4; ++m) {
      const auto element = [&](unsigned i) -> std::uint32_t {
        return Turned ? rows[8 * m + inner + i][outer] : rows[8 * m + outer][inner + i];
      };
      to[lane].of[m] = element(0) | element(1) << 16;
    }
  });
}

template <unsigned N>
void multiply_add(const Warp& warp, Lanes<Sums<N>>& c, unsigned tile, const Lanes<Quad>& a, const Lanes<Quad>& b,
                  unsigned half) {
  float left[16][16], right[8][16];  // the right factor by columns
  const auto number = [](std::uint32_t pair, unsigned i) {
    return std::bit_cast<float>(i == 0 ? pair << 16 : pair & 0xffff0000u);
  };
  warp.each([&](unsigned lane) {
    const unsigned group = lane / 4, k = lane % 4 * 2;
    for (unsigned i = 0; i < 2; ++i) {
      for (unsigned r = 0; r < 4; ++r) left[group + r % 2 * 8][k + r / 2 * 8 + i] = number(a[lane].of[r], i);
      for (unsigned r = 0; r < 2; ++r) right[group][k + r * 8 + i] = number(b[lane].of[2 * half + r], i);
    }
  });
  warp.each([&](unsigned lane) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = 0;
      for (unsigned k = 0; k < 16; ++k) sum += left[row][k] * right[column][k];
      c[lane].of[tile][i] += sum;
    }
  });
}

#endif

}  // namespace calm::cuda
