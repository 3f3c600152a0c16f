/// \file  The pass over the queries of attention's gradients on the tensor cores: those of the keys and values.
#pragma once

#include "calm/tensor/cuda/flash_attention_sides.cuh"

namespace calm::cuda {

/// dk and dv for a tile of 64 keys of one key head, 16 for each warp; heads too wide for both take a pass for each.
template <unsigned W, bool ForKeys, bool ForValues>
struct FlashBackwardKeys {
  static constexpr unsigned keys = 64, rows = W <= 128 ? 64 : 32, stages = W <= 128 ? 2 : 1;
  static constexpr int teams_per_processor = 2;
  using Queries = SharedTile<rows, W>;
  using Keys = SharedTile<keys, W>;
  static constexpr std::size_t shared_bytes =
      sizeof(bf16) * ((1 + ForKeys) * Keys::elements + (1 + stages) * Queries::elements) +
      stages * rows * (sizeof(QueryNumbers) + sizeof(Seen));

  FlashSides in;
  const KeySpan* spans;  ///< [batch, tiles of queries]
  const Seen* seen;      ///< [batch, queries]
  bf16 *dk, *dv;
  std::size_t parts;  ///< of the heads that share a key head, a team for each
  float* part;        ///< if there are several: [dk, dv; those that this kernel makes][parts] as dk, for `AddParts`

  struct State {
    Lanes<Sums<W / 8>> dk[1], dv[1];
    Lanes<Sums<rows / 8>> s[1], dp[1];
  };
  /// Tiles of queries of the heads that share a key head, one head after the other.
  struct Place {
    unsigned head, tile;
  };
  /// A tile of keys of one text's key head, and what a team keeps of it in shared memory.
  struct Work {
    unsigned b, kv_head, part, heads_begin, heads_end, tiles;
    Index j0;
    Keys ks, vs;
    Queries qs, d_outs;     ///< of the queries the first stage
    QueryNumbers* numbers;  ///< [stages, rows]
    Seen* seen;             ///< [stages, rows]

    CALM_KERNEL bool has(const Place& at) const { return at.head < heads_end; }
    CALM_KERNEL Queries queries(unsigned stage) const { return {qs.data + stage * Queries::elements}; }
  };

  CALM_KERNEL void operator()(const WarpTeam& team, std::size_t item) const {
    const Work work = work_of(team, static_cast<unsigned>(item));
    const auto exists = [&](Index j) { return j < static_cast<Index>(in.e.keys); };
    copy_keys<false>(team, KeyRows(in.e, in.k, work.b, work.kv_head), work.j0, exists, work.ks);
    if (ForKeys) copy_keys<false>(team, KeyRows(in.e, in.v, work.b, work.kv_head), work.j0, exists, work.vs);
    OfWarps<State> states;
    team.each_warp([&](const Warp& warp) { begin(warp, states[warp]); });
    unsigned stage = 0;
    Place at = seen_from(work, {work.heads_begin, 0});
    if (work.has(at)) copy_queries(team, work, at, stage);
    while (work.has(at)) {
      const Place now = at;
      at = seen_from(work, {now.head, now.tile + 1});
      team.arrive();  // the queries; the gradients of results from before were read
      copy_tile(team, work, in.d_out, now, work.d_outs);
      team.each_warp([&](const Warp& warp) {
        multiply_rows(warp, states[warp].s, work.ks, work.queries(stage));
      });
      team.arrive();
      if (stages == 2 && work.has(at)) copy_queries(team, work, at, 1 - stage);
      team.each_warp([&](const Warp& warp) { add(warp, states[warp], work, now, stage); });
      if (stages == 2) {
        stage = 1 - stage;
      } else {
        team.barrier();
        if (work.has(at)) copy_queries(team, work, at, stage);
      }
    }
    team.arrive();  // also where nobody sees a key
    team.each_warp([&](const Warp& warp) { finish(warp, states[warp], work); });
  }

 private:
  CALM_KERNEL Work work_of(const WarpTeam& team, unsigned item) const {
    const unsigned blocks = (static_cast<unsigned>(in.e.keys) + keys - 1) / keys, number = item / blocks;
    const unsigned kv_heads = static_cast<unsigned>(in.e.kv_heads), kv_head = number % kv_heads;
    const unsigned group = static_cast<unsigned>(in.e.heads) / kv_heads;
    const unsigned tiles = (static_cast<unsigned>(in.e.queries) + rows - 1) / rows;
    Work work{};
    const unsigned batch = static_cast<unsigned>(in.e.batch), count = static_cast<unsigned>(parts);
    work.b = number / kv_heads % batch;
    work.kv_head = kv_head;
    work.part = number / kv_heads / batch;
    work.heads_begin = kv_head * group + work.part * group / count;
    work.heads_end = kv_head * group + (work.part + 1) * group / count;
    work.tiles = tiles;
    work.j0 = static_cast<Index>(item % blocks * keys);
    work.ks.data = team.template shared<bf16>();
    work.vs.data = work.ks.data + (ForKeys ? Keys::elements : 0);
    work.qs.data = work.vs.data + Keys::elements;
    work.d_outs.data = work.qs.data + stages * Queries::elements;
    work.numbers = reinterpret_cast<QueryNumbers*>(work.d_outs.data + Queries::elements);
    work.seen = reinterpret_cast<Seen*>(work.numbers + stages * rows);
    return work;
  }

  CALM_KERNEL const KeySpan& span_of(const Work& work, unsigned tile) const {
    return spans[work.b * work.tiles + tile];
  }

  /// The first place from `at` on that sees some of the keys.
  CALM_KERNEL Place seen_from(const Work& work, Place at) const {
    for (; work.has(at); ++at.head, at.tile = 0) {
      for (; at.tile < work.tiles; ++at.tile) {
        if (span_of(work, at.tile).some_see(work.j0, work.j0 + static_cast<Index>(keys))) return at;
      }
    }
    return at;
  }

  CALM_KERNEL void copy_tile(const WarpTeam& team, const Work& work, const bf16* from, const Place& at,
                             const Queries& to) const {
    const unsigned r0 = at.tile * rows, left = static_cast<unsigned>(in.e.queries) - r0;
    copy_rows(team, HeadRows{in.e, work.b, at.head, 1}, r0, left < rows ? left : rows, from, to);
  }

  CALM_KERNEL void copy_queries(const WarpTeam& team, const Work& work, const Place& at, unsigned stage) const {
    copy_tile(team, work, in.q, at, work.queries(stage));
    const unsigned r0 = at.tile * rows, queries = static_cast<unsigned>(in.e.queries);
    const QueryNumbers* const from = in.numbers + (work.b * in.e.heads + at.head) * queries;
    team.template copy<rows, sizeof(QueryNumbers)>([&](unsigned r) {
      const bool there = r0 + r < queries;
      return Piece{work.numbers + stage * rows + r, from + (there ? r0 + r : 0), there};
    });
    constexpr unsigned words = sizeof(Seen) / sizeof(Index);
    const Index* const bounds = &seen[static_cast<std::size_t>(work.b) * queries].begin;
    team.template copy<rows * words, sizeof(Index)>([&](unsigned word) {
      const bool there = r0 + word / words < queries;
      return Piece{&work.seen[stage * rows].begin + word, bounds + (there ? r0 * words + word : 0), there};
    });
  }

  CALM_KERNEL static void begin(const Warp& warp, State& state) {
    warp.each([&](unsigned lane) {
      CALM_UNROLL for (unsigned t = 0; t < W / 8; ++t) {
        CALM_UNROLL for (unsigned i = 0; i < 4; ++i) state.dk[0][lane].of[t][i] = state.dv[0][lane].of[t][i] = 0;
      }
    });
  }

  /// Adds what a tile of queries says, with the products of keys and queries in state.s.
  CALM_KERNEL void add(const Warp& warp, State& state, const Work& work, const Place& at, unsigned stage) const {
    if constexpr (ForKeys) {
      multiply_rows(warp, state.dp, work.vs, work.d_outs);
    }
    weigh(warp, state, work, at, stage);
    if constexpr (ForValues) multiply_columns(warp, state.dv, state.s, work.d_outs);
    if constexpr (ForKeys) {
      warp.each([&](unsigned lane) {
        CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
          each_pair(state.s[0][lane], state.dp[0][lane], half, 0, [](float& p, float& dp, Index) { p *= dp; });
        }
      });
      multiply_columns(warp, state.dk, state.s, work.queries(stage));
    }
  }

  /// s: from the products to weights; dp: to what these are multiplied by for the gradients of the products.
  CALM_KERNEL void weigh(const Warp& warp, State& state, const Work& work, const Place& at, unsigned stage) const {
    const QueryNumbers* const numbers = work.numbers + stage * rows;
    const Seen* const by = work.seen + stage * rows;
    const bool all = span_of(work, at.tile).all_see(work.j0, work.j0 + static_cast<Index>(keys));
    const ScoreRule of_product(in.rule);
    const float slope = in.slope(at.head);
    warp.each([&](unsigned lane) {
      auto& s = state.s[0][lane];
      auto& dp = state.dp[0][lane];
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        const Index j = work.j0 + static_cast<Index>(warp.number * 16 + lane / 4 + 8 * half);
        const Index first = static_cast<Index>(lane % 4 * 2);
        if (ForKeys) row_of(dp, half, first)([&](float& x, Index r) { x -= numbers[r].delta; });
        if (!of_product.plain) {
          each_pair(s, dp, half, first, [&](float& x, float& dx, Index r) {
            in.grow(of_product, x, dx);
            if (in.rule.biased) x -= slope * static_cast<float>(by[r].away(j));
          });
        }
        if (!all) {
          each_pair(s, dp, half, first, [&](float& x, float& dx, Index r) {
            if (by[r](j)) return;
            x = -std::numeric_limits<float>::infinity();
            dx = 0;  // a key that nobody sees may be no number
          });
        }
        row_of(s, half, first)([&](float& x, Index r) {
          x = power_of_two(x * of_product.factor - numbers[r].lse);
        });
      }
    });
  }

  CALM_KERNEL void finish(const Warp& warp, State& state, const Work& work) const {
    const float scale = in.scale();
    warp.each([&](unsigned lane) {
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        const std::size_t j = static_cast<std::size_t>(work.j0) + warp.number * 16 + lane / 4 + 8 * half;
        if (j >= in.e.keys) continue;
        const std::size_t to = ((work.b * in.e.keys + j) * in.e.kv_heads + work.kv_head) * in.e.width;
        if (ForKeys && dk) put(state.dk[0][lane], half, lane, scale, work.part, to, dk);
        if (ForValues && dv) put(state.dv[0][lane], half, lane, 1.0f, ForKeys * parts + work.part, to, dv);
      }
    });
  }

  /// Adds a row of sums to `all`, from `to` on, or lays it down as a part of what is added.
  CALM_KERNEL void put(const Sums<W / 8>& s, unsigned half, unsigned lane, float scale, std::size_t number,
                       std::size_t to, bf16* all) const {
    if (parts == 1) return add_row(s, half, lane, scale, in.e.width, all + to);
    float* const row = part + number * in.e.batch * in.e.keys * in.e.kv_heads * in.e.width + to;
    CALM_UNROLL for (unsigned t = 0; t < W / 8; ++t) {
      const unsigned c = 8 * t + lane % 4 * 2;
      if (c >= in.e.width) break;
      row[c] = scale * s.of[t][2 * half];
      row[c + 1] = scale * s.of[t][2 * half + 1];
    }
  }
};

/// Into how many parts the heads that share a key head go: where there are few tiles of keys, some with many more
/// queries than others, so that a GPU stays at work to the end. It depends on the extents alone.
inline std::size_t head_parts(std::size_t items, std::size_t group) {
  return std::clamp<std::size_t>(1024 / std::max<std::size_t>(items, 1), 1, group);
}

}  // namespace calm::cuda
