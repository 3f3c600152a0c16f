/// \file  The pass over the keys of attention's gradients on the tensor cores: those of the queries.
#pragma once

#include "calm/tensor/cuda/flash_attention_sides.cuh"

namespace calm::cuda {

/// dq for a tile of 64 queries of one head, 16 for each warp.
template <unsigned W>
struct FlashBackwardQueries {
  static constexpr unsigned rows = 64, keys = W <= 128 ? 64 : 32;
  static constexpr int teams_per_processor = 2;
  using Queries = SharedTile<rows, W>;
  using Keys = SharedTile<keys, W>;
  static constexpr std::size_t shared_bytes =
      sizeof(bf16) * 2 * (Queries::elements + Keys::elements) + rows * sizeof(Seen) + sizeof(KeySpan);

  FlashSides in;
  bf16* dq;

  struct State {
    Lanes<Sums<W / 8>> dq[1];
    Lanes<Sums<keys / 8>> s[1], dp[1];
    Lanes<QueryNumbers> of[2];
  };

  CALM_KERNEL void operator()(const WarpTeam& team, std::size_t item) const {
    const kernel::AttentionExtents& e = in.e;
    const unsigned queries = static_cast<unsigned>(e.queries), tiles = (queries + rows - 1) / rows;
    const unsigned tile = tiles - 1 - static_cast<unsigned>(item) % tiles, bh = static_cast<unsigned>(item) / tiles;
    const unsigned heads = static_cast<unsigned>(e.heads), b = bh / heads, head = bh % heads;
    const unsigned kv_head = head / (heads / static_cast<unsigned>(e.kv_heads));
    const unsigned r0 = tile * rows, n = queries - r0 < rows ? queries - r0 : rows;
    const HeadRows of{e, b, head, 1};
    const Queries qs{team.template shared<bf16>()}, d_outs{qs.data + Queries::elements};
    const Keys ks{d_outs.data + Queries::elements}, vs{ks.data + Keys::elements};
    Seen* const seen = reinterpret_cast<Seen*>(vs.data + Keys::elements);
    KeySpan& span = *reinterpret_cast<KeySpan*>(seen + rows);
    copy_rows<false>(team, of, r0, n, in.q, qs);
    copy_rows<false>(team, of, r0, n, in.d_out, d_outs);
    const KeySpan found = key_span(team, in.rule, e.keys, b * e.queries + r0, n);
    team.each(rows, [&](std::size_t r) {
      seen[r] = r < n ? in.rule.seen(e.keys, b * e.queries + r0 + r) : Seen{};
      if (r == 0) span = found;
    });
    const Index step = static_cast<Index>(keys);
    const auto copy_block = [&](const bf16* from, Index j0, const Keys& to) {
      copy_seen_keys(team, KeyRows(e, from, b, kv_head), span, seen, n, j0, to);
    };
    OfWarps<State> states;
    team.each_warp([&](const Warp& warp) { begin(warp, states[warp], of, r0, n); });
    Index j0 = span.next(span.first, step);
    if (j0 < span.last) copy_block(in.v, j0, vs);
    while (j0 < span.last) {
      const Index now = j0;
      team.arrive();  // the values; the keys from before were read
      copy_block(in.k, now, ks);
      team.each_warp([&](const Warp& warp) {
        multiply_rows(warp, states[warp].dp, d_outs, vs);
      });
      team.arrive();
      j0 = span.next(now + step, step);
      if (j0 < span.last) copy_block(in.v, j0, vs);
      team.each_warp([&](const Warp& warp) {
        State& state = states[warp];
        multiply_rows(warp, state.s, qs, ks);
        differentiate(warp, state, head, seen, now, span.all_see(now, now + step));
        multiply_columns(warp, state.dq, state.s, ks);
      });
    }
    team.arrive();  // also where no key is seen
    team.each_warp([&](const Warp& warp) { finish(warp, states[warp], of, r0, n); });
  }

 private:
  CALM_KERNEL static unsigned row(const Warp& warp, unsigned lane, unsigned half) {
    return warp.number * 16 + lane / 4 + 8 * half;
  }

  CALM_KERNEL void begin(const Warp& warp, State& state, const HeadRows& of, unsigned r0, unsigned n) const {
    warp.each([&](unsigned lane) {
      CALM_UNROLL for (auto& tile : state.dq[0][lane].of) tile[0] = tile[1] = tile[2] = tile[3] = 0;
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        const unsigned r = row(warp, lane, half);
        state.of[half][lane] = r < n ? in.numbers[of.by_head(r0 + r)] : QueryNumbers{0, 0};
      }
    });
  }

  /// s: from the products to the gradients of these.
  CALM_KERNEL void differentiate(const Warp& warp, State& state, unsigned head, const Seen* seen, Index j0,
                                 bool all) const {
    const ScoreRule of_product(in.rule);
    const float slope = in.slope(head);
    CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
      warp.each([&](unsigned lane) {
        auto& s = state.s[0][lane];
        auto& dp = state.dp[0][lane];
        const QueryNumbers of = state.of[half][lane];
        const Seen* const by = seen + row(warp, lane, half);
        const Index j = j0 + static_cast<Index>(lane % 4 * 2);
        row_of(dp, half, j)([&](float& x, Index) { x -= of.delta; });
        if (!of_product.plain) {
          each_pair(s, dp, half, j, [&](float& x, float& dx, Index key) {
            in.grow(of_product, x, dx);
            if (in.rule.biased) x -= slope * static_cast<float>(by->away(key));
          });
        }
        if (!all) {
          const Seen mine = *by;
          row_of(s, half, j)([&](float& x, Index key) {
            x = mine(key) ? x : -std::numeric_limits<float>::infinity();
          });
        }
        each_pair(s, dp, half, j, [&](float& x, float& dx, Index) {
          x = power_of_two(x * of_product.factor - of.lse) * dx;
        });
      });
    }
  }

  CALM_KERNEL void finish(const Warp& warp, State& state, const HeadRows& of, unsigned r0, unsigned n) const {
    const float scale = in.scale();
    warp.each([&](unsigned lane) {
      CALM_UNROLL for (unsigned half = 0; half < 2; ++half) {
        const unsigned r = row(warp, lane, half);
        if (r >= n) continue;
        add_row(state.dq[0][lane], half, lane, scale, in.e.width, dq + of.by_query(r0 + r) * in.e.width);
      }
    });
  }
};

}  // namespace calm::cuda
