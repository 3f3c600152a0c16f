/// \file  What both passes of attention's gradients on the tensor cores know of queries, keys and scores.
///
/// Of the three factors of a gradient, p (dp - delta) steep, the last two stand in `dp` before p is known.
#pragma once

#include "calm/tensor/cuda/attention_span.cuh"
#include "calm/tensor/cuda/pack.cuh"

namespace calm::cuda {

/// What both passes want to know of a query: its log-sum-exp in units of log 2, and out · d_out - d_lse.
struct QueryNumbers {
  float lse, delta;
};

/// Eight lanes for each query of a head; they read 16 bytes at a time.
struct FlashDeltas {
  static constexpr int teams_per_processor = 4;
  static constexpr std::size_t shared_bytes = 0;
  static constexpr unsigned rows = WarpTeam::threads / 8;

  kernel::AttentionExtents e;
  const bf16 *out, *d_out, *d_lse;
  const float* lse;
  QueryNumbers* numbers;  ///< [batch, heads, queries]

  CALM_KERNEL void operator()(const WarpTeam& team, std::size_t item) const {
    team.each_warp([&](const Warp& warp) {
      const auto row = [&](unsigned lane) { return item * rows + warp.number * 4 + lane / 8; };
      Lanes<float> sum;
      warp.each([&](unsigned lane) {
        sum[lane] = 0;
        if (row(lane) >= e.batch * e.queries * e.heads) return;
        for (std::size_t c = lane % 8 * 8; c < e.width; c += 64) {
          const std::size_t at = row(lane) * e.width + c;
          const auto x = load<8>(out + at), y = load<8>(d_out + at);
          CALM_UNROLL for (unsigned i = 0; i < 8; ++i) sum[lane] += wide(x.at[i]) * wide(y.at[i]);
        }
      });
      warp.fold<8>(sum, Sum{});
      warp.each([&](unsigned lane) {
        if (lane % 8 != 0 || row(lane) >= e.batch * e.queries * e.heads) return;
        const std::size_t i = row(lane) / e.heads, h = row(lane) % e.heads;
        const std::size_t at = (i / e.queries * e.heads + h) * e.queries + i % e.queries;
        const float below = lse[at] > -std::numeric_limits<float>::infinity() ? lse[at] : 0.0f;  // it sees no key
        numbers[at] = {below * std::numbers::log2e_v<float>, sum[lane] - (d_lse ? wide(d_lse[row(lane)]) : 0.0f)};
      });
    });
  }
};

/// What both passes know.
struct FlashSides {
  kernel::AttentionExtents e;
  Rule<float> rule;
  const bf16 *q, *k, *v, *d_out;
  const QueryNumbers* numbers;

  /// What a gradient is multiplied by at the end.
  CALM_KERNEL float scale() const { return ScoreRule(rule).plain ? rule.scale : 1.0f; }
  CALM_KERNEL float slope(unsigned head) const {
    return rule.biased ? rule.slope[head] * std::numbers::log2e_v<float> : 0.0f;
  }
  /// One product s and dp - delta in dp: from here s is the score without its bias, dp the gradient of the product as a
  /// part of the weight.
  CALM_KERNEL void grow(const ScoreRule& of_product, float& s, float& dp) const {
    s = of_product(s);
    dp *= of_product.steep(s) * rule.scale;
  }
};

/// seen[b, i], and spans[b, tile] of tiles of `rows` queries.
struct FindSpans {
  Rule<float> rule;
  std::size_t keys, queries, rows;
  KeySpan* spans;
  Seen* seen;

  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const std::size_t tiles = (queries + rows - 1) / rows, i0 = item % tiles * rows;
    const std::size_t n = queries - i0 < rows ? queries - i0 : rows;
    const std::size_t first = item / tiles * queries + i0;
    const KeySpan span = key_span(team, rule, keys, first, n);
    team.each(n, [&](std::size_t i) { seen[first + i] = rule.seen(keys, first + i); });
    team.each(1, [&](std::size_t) { spans[item] = span; });
  }
};

}  // namespace calm::cuda
