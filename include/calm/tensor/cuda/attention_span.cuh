/// \file  What attention's kernels on the tensor cores share: which blocks of keys a tile of queries sees, where the
/// rows of its heads are, and how products become scores.
#pragma once

#include <numbers>
#include <type_traits>

#include "calm/tensor/cuda/attention_tile.cuh"
#include "calm/tensor/cuda/tile_product.cuh"

namespace calm::cuda {

/// The keys that a tile of queries sees: some of them those from `first` to `last`, all of them those from `all_first`
/// to `all_last`. Some leave out keys from `hole_first` to `hole_last`, all of them those from `gap_first` to
/// `gap_last`.
struct KeySpan {
  Index first, last, all_first, all_last, hole_first, hole_last, gap_first, gap_last;

  /// Of no queries, and of one.
  CALM_KERNEL static KeySpan none(Index keys) { return {keys, 0, 0, keys, keys, 0, 0, keys}; }
  CALM_KERNEL static KeySpan of(const Seen& s, Index keys) {
    if (s.empty()) return {keys, 0, s.begin, 0, keys, 0, 0, keys};
    if (s.hole_end <= s.hole_begin) return {s.begin, s.end, s.begin, s.end, keys, 0, keys, 0};
    return {s.begin, s.end, s.begin, s.end, s.hole_begin, s.hole_end, s.hole_begin, s.hole_end};
  }

  CALM_KERNEL bool some_see(Index begin, Index end) const {
    return begin < last && end > first && !(begin >= gap_first && end <= gap_last);
  }
  CALM_KERNEL bool all_see(Index begin, Index end) const {
    return begin >= all_first && end <= all_last && (end <= hole_first || begin >= hole_last);
  }
  /// The first of the blocks of `keys` keys from `begin` on that some see; `last` or later if there is none.
  CALM_KERNEL Index next(Index begin, Index keys) const {
    while (begin < last && !some_see(begin, begin + keys)) begin += keys;
    return begin;
  }
};

/// The span of both.
struct JoinSpans {
  CALM_KERNEL KeySpan operator()(const KeySpan& a, const KeySpan& b) const {
    return {least(a.first, b.first),           most(a.last, b.last),
            most(a.all_first, b.all_first),    least(a.all_last, b.all_last),
            least(a.hole_first, b.hole_first), most(a.hole_last, b.hole_last),
            most(a.gap_first, b.gap_first),    least(a.gap_last, b.gap_last)};
  }

 private:
  CALM_KERNEL static Index least(Index a, Index b) { return b < a ? b : a; }
  CALM_KERNEL static Index most(Index a, Index b) { return b > a ? b : a; }
};

/// The span of n queries; query i sees rule.seen(keys, first_row + i). Bounds are the host's memory, far away, so each
/// is read once.
template <class A>
CALM_KERNEL KeySpan key_span(const Team& team, const Rule<A>& rule, std::size_t keys, std::size_t first_row,
                             std::size_t n) {
  const Index all = static_cast<Index>(keys);
  return team.fold(n, KeySpan::none(all), [&](std::size_t i) {
    return KeySpan::of(rule.seen(keys, first_row + i), all);
  }, JoinSpans{});
}

/// Rows of one text for `pack` heads that share a key head, query by query: row r is query r / pack of head
/// `head` + r % pack.
struct HeadRows {
  kernel::AttentionExtents e;
  unsigned b, head, pack;

  CALM_KERNEL unsigned query(unsigned r) const { return pack == 1 ? r : r / pack; }
  CALM_KERNEL unsigned head_of(unsigned r) const { return head + (r - query(r) * pack); }
  /// Its number in [batch, queries, heads], and in [batch, heads, queries].
  CALM_KERNEL std::size_t by_query(unsigned r) const { return (b * e.queries + query(r)) * e.heads + head_of(r); }
  CALM_KERNEL std::size_t by_head(unsigned r) const { return (b * e.heads + head_of(r)) * e.queries + query(r); }
};

/// Begins to copy rows r0 to r0 + Tile::rows, of which n exist, into a tile that is as wide as a head or wider.
template <bool Simple = true, class Tile>
CALM_KERNEL void copy_rows(const WarpTeam& team, const HeadRows& rows, unsigned r0, unsigned n, const bf16* from,
                           const Tile& tile) {
  team.template copy<Tile::pieces, 16, Simple>([&](unsigned i) {
    const unsigned r = i / (Tile::width / 8), c = i % (Tile::width / 8) * 8;
    const bool there = r < n && c < rows.e.width;
    return Piece{tile.at(r, c), from + (there ? rows.by_query(r0 + r) * rows.e.width + c : 0), there};
  });
}

/// One key head of a text: where its keys, or values, are.
struct KeyRows {
  const bf16* data;
  std::size_t step;  ///< from one key to the next
  unsigned width;

  CALM_KERNEL KeyRows(const kernel::AttentionExtents& e, const bf16* all, unsigned b, unsigned kv_head)
      : data(all + (b * e.keys * e.kv_heads + kv_head) * e.width), step(e.kv_heads * e.width),
        width(static_cast<unsigned>(e.width)) {}
};

/// Begins to copy keys, or values, from j0 on that satisfy `seen`; zeros in place of others, which may be no numbers.
template <bool Simple = true, class Tile, class SeenBy>
CALM_KERNEL void copy_keys(const WarpTeam& team, const KeyRows& from, Index j0, const SeenBy& seen, const Tile& tile) {
  team.template copy<Tile::pieces, 16, Simple>([&](unsigned i) {
    const unsigned j = i / (Tile::width / 8), c = i % (Tile::width / 8) * 8;
    const Index key = j0 + static_cast<Index>(j);
    const bool there = c < from.width && seen(key);
    return Piece{tile.at(j, c), from.data + (there ? static_cast<std::size_t>(key) * from.step + c : 0), there};
  });
}

/// Whether one of n queries sees key j; one of the first or the last nearly always does.
CALM_KERNEL inline bool some_sees(const Seen* seen, unsigned n, Index j) {
  CALM_ROLL for (unsigned i = 0; i < n; ++i) {
    if (seen[i](j) || seen[n - 1 - i](j)) return true;
  }
  return false;
}

/// Begins to copy a block of keys, or values, for n queries that see what `seen` says and `span` sums up.
template <class Tile>
CALM_KERNEL void copy_seen_keys(const WarpTeam& team, const KeyRows& from, const KeySpan& span, const Seen* seen,
                                unsigned n, Index j0, const Tile& tile) {
  if (span.all_see(j0, j0 + static_cast<Index>(Tile::rows))) {
    copy_keys(team, from, j0, [](Index) { return true; }, tile);
  } else {
    copy_keys<false>(team, from, j0, [&](Index j) {
      return j >= span.first && j < span.last && some_sees(seen, n, j);
    }, tile);
  }
}

/// How products become scores, in units of log 2, so that weights are powers of 2. Without soft cap and bias a product
/// stays what it is, and what follows multiplies it by `factor`.
struct ScoreRule {
  bool capped, plain;
  float factor, cap, of_cap, into_cap;

  CALM_KERNEL explicit ScoreRule(const Rule<float>& rule)
      : capped(rule.softcap > 0), plain(!capped && !rule.biased && rule.scale > 0),
        factor(plain ? rule.scale * log2e : 1.0f), cap(rule.softcap * log2e),
        of_cap(1.0f / cap), into_cap(capped ? 2 * log2e * rule.scale / rule.softcap : rule.scale * log2e) {}

  /// The score before the bias; tanh is right to some 1e-7 of the cap.
  CALM_KERNEL float operator()(float product) const {
    const float x = product * into_cap;
    return capped ? cap * (1.0f - 2.0f * reciprocal(1.0f + power_of_two(x))) : x;
  }
  /// How fast a score grows with its product, as a part of the scale.
  CALM_KERNEL float steep(float score) const {
    const float t = score * of_cap;
    return capped ? (1.0f - t) * (1.0f + t) : 1.0f;
  }

 private:
  static constexpr float log2e = std::numbers::log2e_v<float>;
};

/// Calls f with the width, as a type, of the kernels that take heads as wide as e.width, and returns true; does nothing
/// where there are none: they read 16 bytes at a time.
template <class F>
bool on_tensor_cores(const kernel::AttentionExtents& e, std::initializer_list<const void*> arrays, const F& f) {
  std::uintptr_t addresses = 0;
  for (const void* array : arrays) addresses |= reinterpret_cast<std::uintptr_t>(array);
  if (e.width % 8 != 0 || e.width > 256 || addresses % 16 != 0) return false;
  if (e.width <= 64) f(std::integral_constant<unsigned, 64>{});
  else if (e.width <= 128) f(std::integral_constant<unsigned, 128>{});
  else f(std::integral_constant<unsigned, 256>{});
  return true;
}

}  // namespace calm::cuda
