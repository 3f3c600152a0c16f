/// \file  From products of queries and keys to scores and their softmax, a query and a block of keys at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/attention_mask.hpp"
#include "calm/tensor/cpu/lanes.hpp"
#include "calm/tensor/cpu/math.hpp"

namespace calm::kernel::detail {

/// Gives scores outside of `range` another value.
template <class A>
[[gnu::always_inline]] inline void fill_outside(const BlockRange& range, A* s, A value) {
  using Whole = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
  const Whole lo = static_cast<Whole>(range.lo), hi = static_cast<Whole>(range.hi);
  for (Whole j = 0; j < static_cast<Whole>(key_block); ++j) s[j] = ((j < lo) | (j >= hi)) ? value : s[j];
  std::fill(s + range.hole_lo, s + range.hole_hi, value);
}

/// Turns the products of one query with the keys of `range` in the block at j0 into scores, all others into -∞; with
/// `steep`, also into how fast each score grows with its product.
template <class A>
void score_block(const AttentionRule<A>& rule, std::size_t head, const KeyBounds& bounds, std::size_t j0,
                 const BlockRange& range, A* s, A* steep = nullptr) {
  const std::size_t lo = range.lo, hi = range.hi;
  for (std::size_t j = lo; j < hi; ++j) s[j] *= rule.scale;
  if (steep) std::fill(steep + lo, steep + hi, rule.scale);
  if (rule.softcap > 0) {
    for (std::size_t j = lo; j < hi; ++j) {
      const A t = std::tanh(s[j] / rule.softcap);
      s[j] = rule.softcap * t;
      if (steep) steep[j] *= (A(1) - t) * (A(1) + t);
    }
  }
  if (rule.slope != nullptr) {
    const A slope = rule.slope[head];
    const auto lean = [&](std::size_t first, std::size_t last, std::size_t left_out) {
      const A center = static_cast<A>(bounds.center) + static_cast<A>(left_out);
      for (std::size_t j = first; j < last; ++j) s[j] -= slope * std::abs(center - static_cast<A>(j0 + j));
    };
    const std::size_t split = bounds.hole_end > j0 ? std::min(bounds.hole_end - j0, key_block) : 0;
    const std::size_t behind = bounds.hole() == 0 ? hi : std::clamp(split, lo, std::max(lo, hi));
    lean(lo, behind, 0);
    lean(behind, hi, bounds.hole());
  }
  if (!range.whole()) fill_outside(range, s, -std::numeric_limits<A>::infinity());
}
/// Whether scores are products times `rule.scale`, and no more.
template <class A>
bool only_scaled(const AttentionRule<A>& rule) {
  return rule.softcap <= 0 && rule.slope == nullptr;
}

/// The running softmax of one query: near its largest score so far, and the sums of e^(score - that), one for each lane
/// that they are computed in.
template <class A>
struct RunningSoftmax {
  /// Scores may be larger than `top` by so much before all is related to another: each time costs, and e^8 is small.
  static constexpr A slack = 8;
  static constexpr std::size_t lanes = 64 / sizeof(A);  // of the widest registers
  A top = -std::numeric_limits<A>::infinity(), sum[lanes] = {};

  A total() const {
    A sums[lanes];
    std::copy_n(sum, lanes, sums);
    for (std::size_t half = lanes / 2; half > 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    return sums[0];
  }
};

}  // namespace calm::kernel::detail

#define CALM_KERNELS "calm/tensor/cpu/softmax_kernels.hpp"
#include "calm/tensor/cpu/each_set.hpp"

namespace calm::kernel::detail {

/// f(softmax), `softmax` being a `Softmax`.
template <class F>
void with_softmax_kernels(const F& f) {
  with_instructions<native::Softmax, avx2::Softmax, avx512::Softmax>(f);
}

}  // namespace calm::kernel::detail
