/// \file  What the GPU's kernels of attention and of its gradients share: which keys a query sees, and its scores.
#pragma once

#include <cmath>
#include <string>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/mirror.hpp"
#include "calm/tensor/error.hpp"

namespace calm::cuda {

/// Heads whose slopes a launch can carry by value.
inline constexpr std::size_t most_heads = 256;

/// The keys of one query, as tensor/arguments.hpp says; a key's place leaves out the hole before it.
struct Seen {
  Index begin, end, hole_begin, hole_end, center;

  CALM_KERNEL bool empty() const { return end <= begin; }
  CALM_KERNEL bool operator()(Index j) const { return j >= begin && j < end && !(j >= hole_begin && j < hole_end); }
  CALM_KERNEL Index away(Index j) const {
    const Index distance = center - (j >= hole_end ? j - (hole_end - hole_begin) : j);
    return distance < 0 ? -distance : distance;
  }
};

/// kernel::AttentionRule by value.
template <class A>
struct Rule {
  const Index *begin, *end, *center, *hole_begin, *hole_end;
  A scale, softcap;
  bool biased;
  A slope[most_heads];

  Rule(const kernel::AttentionRule<A>& r, std::size_t heads)
      : begin(near(r.begin)), end(near(r.end)), center(near(r.center)), hole_begin(near(r.hole_begin)),
        hole_end(near(r.hole_end)), scale(r.scale), softcap(r.softcap), biased(r.slope != nullptr), slope{} {
    calm::detail::require(!biased || heads <= most_heads, [&] {
      return "calm::kernel::attention: " + std::to_string(heads) + " heads with a recency bias; on Cuda at most " +
             std::to_string(most_heads);
    });
    if (biased) std::copy_n(r.slope, heads, slope);
  }

  CALM_KERNEL Seen seen(std::size_t keys, std::size_t row) const {
    const Index last = end[row] < static_cast<Index>(keys) ? end[row] : static_cast<Index>(keys);
    const Index first = begin && begin[row] > 0 ? begin[row] : 0;
    Index from = 0, to = 0;
    if (hole_end) {
      from = hole_begin[row] > first ? hole_begin[row] : first;
      to = hole_end[row] < last ? hole_end[row] : last;
      if (to <= from) from = to = 0;
    }
    return {first, last, from, to, center ? center[row] : end[row] - 1 - (to - from)};
  }

  /// The score of a product; with `steep`, also how fast it grows with that.
  CALM_KERNEL A score(A product, const Seen& s, std::size_t head, Index j, A* steep) const {
    A x = product * scale;
    A slope_of_x = scale;
    if (softcap > 0) {
      const A t = std::tanh(x / softcap);
      x = softcap * t;
      slope_of_x *= (A(1) - t) * (A(1) + t);
    }
    if (biased) x -= slope[head] * static_cast<A>(s.away(j));
    if (steep) *steep = slope_of_x;
    return x;
  }
};

/// The keys from the first to behind the last that some of n queries see; `seen(i)` are those of query i.
struct KeyRange {
  std::size_t first, last;
};
template <class SeenBy>
CALM_KERNEL KeyRange keys_seen(const Team& team, std::size_t n, std::size_t keys, const SeenBy& seen_by) {
  const Index none = static_cast<Index>(keys);
  const Index first = -team.template max<Index>(n, [&](std::size_t i) {
    const Seen seen = seen_by(i);
    return seen.empty() ? -none : -seen.begin;
  });
  const Index last = team.template max<Index>(n, [&](std::size_t i) {
    const Seen seen = seen_by(i);
    return seen.empty() ? 0 : seen.end;
  });
  return {static_cast<std::size_t>(first), static_cast<std::size_t>(last)};
}

/// Σ_c a[c] · b[c]
template <class A>
CALM_KERNEL A dot(std::size_t width, const A* a, const A* b) {
  A sum = 0;
  for (std::size_t c = 0; c < width; ++c) sum += a[c] * b[c];
  return sum;
}

/// Shared memory that a kernel of ours may take on every GPU since sm_80.
inline constexpr std::size_t most_shared = 96 * 1024;

/// How many queries, and as many keys, stand in shared memory at a time: the most whose `vectors` arrays of rows (one
/// element wider than a head, so that a warp's threads read from different banks), `squares` arrays of scores and
/// `numbers` per query fit.
template <class A>
std::size_t tile_for(std::size_t width, std::size_t vectors, std::size_t squares, std::size_t numbers) {
  std::size_t tile = 32;
  const auto bytes = [&] { return sizeof(A) * tile * (vectors * (width + 1) + squares * tile + numbers); };
  while (bytes() > most_shared) tile /= 2;
  calm::detail::require(tile > 0, [&] {
    return "calm::kernel::attention: heads " + std::to_string(width) + " wide do not fit into the GPU's shared memory";
  });
  return tile;
}
template <class A>
constexpr std::size_t tile_bytes(std::size_t tile, std::size_t width, std::size_t vectors, std::size_t squares,
                                 std::size_t numbers) {
  return sizeof(A) * tile * (vectors * (width + 1) + squares * tile + numbers);
}

}  // namespace calm::cuda
