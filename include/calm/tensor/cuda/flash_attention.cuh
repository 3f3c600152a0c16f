/// \file  The GPU's kernel of attention on the tensor cores, for heads of bf16 (FlashAttention-2: Dao 2023,
/// algorithm 1).
///
/// A team takes a tile of queries, 16 or 32 for each warp, and walks over the blocks of keys that any of them sees.
/// Scores and weights stay in registers. All heads that share a key head are in one tile, so that its keys are read
/// once.
#pragma once

#include "calm/tensor/cuda/attention_span.cuh"

namespace calm::cuda {

/// What a part of the keys says about all queries, in fp32: to be joined by `JoinParts`.
struct AttentionParts {
  float *out;  ///< [parts, batch, queries, heads, width]
  float *lse;  ///< [parts, batch, queries, heads], in units of log 2
};

template <unsigned W>
struct FlashForward {
  static constexpr unsigned chunks = W <= 128 ? 2 : 1, rows = 64 * chunks, keys = 64;
  static constexpr int teams_per_processor = 2;
  using Queries = SharedTile<rows, W>;
  using Keys = SharedTile<keys, W>;
  static constexpr std::size_t shared_bytes =
      sizeof(bf16) * (Queries::elements + 2 * Keys::elements) + rows * sizeof(Seen) + sizeof(KeySpan);

  kernel::AttentionExtents e;
  Rule<float> rule;
  const bf16 *q, *k, *v, *sink;
  bf16* out;
  float* lse;
  std::size_t parts;  ///< of the keys, a team for each
  AttentionParts part;

  std::size_t tiles() const { return (e.queries * (e.heads / e.kv_heads) + rows - 1) / rows; }

  /// What a warp has in its registers: of chunk m its rows are those from row_of_warp on.
  struct State {
    Lanes<Sums<W / 8>> out[chunks];
    Lanes<Sums<keys / 8>> s[chunks];
    Lanes<float> top[chunks][2], sum[chunks][2];  ///< the largest score and Σ of the weights relative to it
  };

  CALM_KERNEL void operator()(const WarpTeam& team, std::size_t item) const {
    const unsigned pack = static_cast<unsigned>(e.heads / e.kv_heads), all = static_cast<unsigned>(e.queries) * pack;
    const unsigned tiles = (all + rows - 1) / rows, tile = tiles - 1 - static_cast<unsigned>(item) % tiles;
    const unsigned head = static_cast<unsigned>(item) / tiles;  // late queries see most: their tiles come first
    const unsigned kv_heads = static_cast<unsigned>(e.kv_heads), batch = static_cast<unsigned>(e.batch);
    const unsigned kv_head = head % kv_heads, b = head / kv_heads % batch, number = head / kv_heads / batch;
    const unsigned r0 = tile * rows, n = all - r0 < rows ? all - r0 : rows;
    const HeadRows of{e, b, kv_head * pack, pack};
    bf16* const memory = team.template shared<bf16>();
    const Queries qs{memory};
    const Keys ks{qs.data + Queries::elements}, vs{ks.data + Keys::elements};
    Seen* const seen = reinterpret_cast<Seen*>(vs.data + Keys::elements);
    KeySpan& span = *reinterpret_cast<KeySpan*>(seen + rows);  // where it takes no registers
    copy_rows<false>(team, of, r0, n, q, qs);
    const unsigned i0 = of.query(r0);
    const KeySpan of_all = key_span(team, rule, e.keys, b * e.queries + i0, of.query(r0 + n - 1) - i0 + 1);
    const Part keys_of_part = part_of(of_all, number);
    team.each(rows, [&](std::size_t at) {
      const unsigned r = static_cast<unsigned>(at);
      seen[r] = r < n ? rule.seen(e.keys, b * e.queries + of.query(r0 + r)) : Seen{};
      cut(seen[r].begin, seen[r].end, keys_of_part);
      if (r > 0) return;
      span = of_all;
      cut(span.first, span.last, keys_of_part);
      cut(span.all_first, span.all_last, keys_of_part);
    });
    const auto copy_block = [&](const bf16* from, Index j0, const Keys& to) {
      copy_seen_keys(team, KeyRows(e, from, b, kv_head), span, seen, n, j0, to);
    };
    const Index step = static_cast<Index>(keys);
    OfWarps<State> states;
    team.each_warp([&](const Warp& warp) { begin(warp, states[warp], of, r0, number == 0); });
    Index j0 = span.next(span.first, step);
    if (j0 < span.last) copy_block(k, j0, ks);
    while (j0 < span.last) {
      team.arrive();  // the keys; the values from before were read
      copy_block(v, j0, vs);
      team.each_warp([&](const Warp& warp) {
        State& state = states[warp];
        multiply_rows(warp, state.s, qs, ks);
        score(warp, state, seen, of, r0, j0, span.all_see(j0, j0 + step));
        weigh(warp, state);
      });
      team.arrive();
      j0 = span.next(j0 + step, step);
      if (j0 < span.last) copy_block(k, j0, ks);
      team.each_warp([&](const Warp& warp) { multiply_columns(warp, states[warp].out, states[warp].s, vs); });
    }
    team.arrive();  // also where no key is seen
    team.each_warp([&](const Warp& warp) { finish(warp, states[warp], of, r0, n, number); });
  }

 private:
  struct Part {
    Index first, last;
  };
  /// Of the keys that a tile sees, those that are in the part with that number.
  CALM_KERNEL Part part_of(const KeySpan& span, unsigned number) const {
    const Index count = static_cast<Index>(parts), size = (span.last - span.first + count - 1) / count;
    const Index begin = span.first + static_cast<Index>(number) * size;
    return {begin, begin + size < span.last ? begin + size : span.last};
  }
  CALM_KERNEL static void cut(Index& first, Index& last, const Part& part) {
    if (first < part.first) first = part.first;
    if (last > part.last) last = part.last;
  }

  /// The sink is a first key, of value zero, in the first part.
  CALM_KERNEL void begin(const Warp& warp, State& state, const HeadRows& of, unsigned r0, bool first) const {
    warp.each([&](unsigned lane) {
      CALM_UNROLL for (unsigned m = 0; m < chunks; ++m) {
        CALM_UNROLL for (auto& tile : state.out[m][lane].of) tile[0] = tile[1] = tile[2] = tile[3] = 0;
        CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
          const unsigned r = r0 + row_of_warp(warp, m) + lane / 4 + 8 * half;
          const bool is = sink && first;
          state.top[m][half][lane] =
              is ? wide(sink[of.head_of(r)]) * std::numbers::log2e_v<float> : -std::numeric_limits<float>::infinity();
          state.sum[m][half][lane] = is && lane % 4 == 0 ? 1.0f : 0.0f;  // Σ over four lanes
        }
      }
    });
  }

  CALM_KERNEL void score(const Warp& warp, State& state, const Seen* seen, const HeadRows& of, unsigned r0, Index j0,
                         bool all) const {
    const ScoreRule of_product(rule);
    if (all && of_product.plain) return;
    CALM_UNROLL for (unsigned m = 0; m < chunks; ++m) {
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        warp.each([&](unsigned lane) {
          const unsigned r = row_of_warp(warp, m) + lane / 4 + 8 * half;
          const auto scores = row_of(state.s[m][lane], half, j0 + static_cast<Index>(lane % 4 * 2));
          if (!of_product.plain) {
            scores([&](float& x, Index) { x = of_product(x); });
            if (rule.biased) {
              const float slope = rule.slope[of.head_of(r0 + r)] * std::numbers::log2e_v<float>;
              scores([&](float& x, Index j) { x -= slope * static_cast<float>(seen[r].away(j)); });
            }
          }
          if (!all) {
            const Seen by = seen[r];
            scores([&](float& x, Index j) { x = by(j) ? x : -std::numeric_limits<float>::infinity(); });
          }
        });
      }
    }
  }

  /// Turns scores into weights relative to the largest so far; what was summed up before shrinks.
  CALM_KERNEL void weigh(const Warp& warp, State& state) const {
    const float factor = ScoreRule(rule).factor;
    CALM_UNROLL for (unsigned m = 0; m < chunks; ++m) {
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        Lanes<float> high;
        warp.each([&](unsigned lane) {
          float x = -std::numeric_limits<float>::infinity();
          CALM_UNROLL for (const auto& tile : state.s[m][lane].of) {
            x = Larger{}(x, Larger{}(tile[2 * half], tile[2 * half + 1]));
          }
          high[lane] = Larger{}(state.top[m][half][lane], x * factor);
        });
        warp.fold<4>(high, Larger{});
        warp.each([&](unsigned lane) {
          const float base = high[lane] > -std::numeric_limits<float>::infinity() ? high[lane] : 0.0f;
          const float shrink = power_of_two(state.top[m][half][lane] - base);
          state.top[m][half][lane] = high[lane];
          float total = 0;
          CALM_UNROLL for (auto& tile : state.s[m][lane].of) {
            CALM_UNROLL for (unsigned c = 0; c < 2; ++c) {
              float& x = tile[2 * half + c];
              x = power_of_two(x * factor - base);
              total += x;
            }
          }
          state.sum[m][half][lane] = state.sum[m][half][lane] * shrink + total;
          CALM_UNROLL for (auto& tile : state.out[m][lane].of) {
            tile[2 * half] *= shrink;
            tile[2 * half + 1] *= shrink;
          }
        });
      }
    }
  }

  CALM_KERNEL void finish(const Warp& warp, State& state, const HeadRows& of, unsigned r0, unsigned n,
                          unsigned number) const {
    CALM_UNROLL for (unsigned m = 0; m < chunks; ++m) {
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        warp.fold<4>(state.sum[m][half], Sum{});
        warp.each([&](unsigned lane) {
          const unsigned r = row_of_warp(warp, m) + lane / 4 + 8 * half;
          if (r >= n) return;
          const float sum = state.sum[m][half][lane], inverse = sum > 0 ? 1.0f / sum : 0.0f;
          const float top = state.top[m][half][lane] + std::log2(sum);
          const std::size_t place = of.by_query(r0 + r), at = number * e.batch * e.queries * e.heads + place;
          CALM_UNROLL for (unsigned t = 0; t < W / 8; ++t) {
            const unsigned c = 8 * t + lane % 4 * 2;
            if (c >= e.width) break;
            const float x = state.out[m][lane].of[t][2 * half] * inverse;
            const float y = state.out[m][lane].of[t][2 * half + 1] * inverse;
            if (parts == 1) {
              store_two(out + place * e.width + c, x, y);
            } else {
              part.out[at * e.width + c] = x;
              part.out[at * e.width + c + 1] = y;
            }
          }
          if (lane % 4 != 0) return;
          if (parts > 1) part.lse[at] = top;
          else if (lse) lse[of.by_head(r0 + r)] = top * std::numbers::ln2_v<float>;
        });
      }
    }
  }
};

/// out, and lse if there is one, of all keys from those of their parts, in order.
struct JoinParts {
  kernel::AttentionExtents e;
  std::size_t parts;
  AttentionParts part;
  bf16* out;
  float* lse;

  CALM_KERNEL void operator()(std::size_t at) const {
    const std::size_t rows = e.batch * e.queries * e.heads, row = at / e.width;
    float top = -std::numeric_limits<float>::infinity(), sum = 0, total = 0;
    for (std::size_t p = 0; p < parts; ++p) top = Larger{}(top, part.lse[p * rows + row]);
    const float base = top > -std::numeric_limits<float>::infinity() ? top : 0.0f;
    for (std::size_t p = 0; p < parts; ++p) {
      const float weight = power_of_two(part.lse[p * rows + row] - base);
      sum += weight;
      total += weight * part.out[p * rows * e.width + at];
    }
    out[at] = narrow<bf16>(sum > 0 ? total / sum : 0.0f);
    if (!lse || at % e.width != 0) return;
    const std::size_t i = row / e.heads, h = row % e.heads;
    lse[(i / e.queries * e.heads + h) * e.queries + i % e.queries] =
        (top + std::log2(sum)) * std::numbers::ln2_v<float>;
  }
};

/// Into how many parts the keys go: one, unless there are too few tiles of queries to keep a GPU at work, as in
/// decoding. It depends on the extents alone, so the same call has the same bits.
inline std::size_t attention_parts(std::size_t items, std::size_t keys) {
  const std::size_t wanted = 256 / std::max<std::size_t>(items, 1), most = keys / 256;
  return std::clamp<std::size_t>(std::min(wanted, most), 1, 64);
}

/// Returns false where there is no kernel on the tensor cores for these heads.
inline bool flash_attention(const kernel::AttentionExtents& e, const kernel::AttentionRule<float>& rule, const bf16* q,
                            const bf16* k, const bf16* v, const bf16* sink, bf16* out, float* lse) {
  return on_tensor_cores(e, {q, k, v, out}, [&](auto width) {
    FlashForward<width> kernel{e, {rule, e.heads}, q, k, v, sink, out, lse, 1, {}};
    const std::size_t items = e.batch * e.kv_heads * kernel.tiles(), rows = e.batch * e.queries * e.heads;
    kernel.parts = attention_parts(items, e.keys);
    if (kernel.parts == 1) return warp_teams("attention", items, kernel);
    const Scratch<float> memory(kernel.parts * rows * (e.width + 1));
    kernel.part = {memory.data(), memory.data() + kernel.parts * rows * e.width};
    warp_teams("attention", kernel.parts * items, kernel);
    each("attention", rows * e.width, JoinParts{e, kernel.parts, kernel.part, out, lse});
  });
}

}  // namespace calm::cuda
