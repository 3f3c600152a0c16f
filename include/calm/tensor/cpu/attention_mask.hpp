/// \file  Which keys the queries of blockwise attention see, block by block.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/attention_words.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel::detail {

inline constexpr std::size_t query_tile = 8;  // neighbouring queries that are scored together

/// The keys of one query, clamped to those that exist. A hole stands inside of them or is empty.
struct KeyBounds {
  std::size_t begin, end;
  Index center;
  std::size_t hole_begin = 0, hole_end = 0;

  std::size_t hole() const { return hole_end - hole_begin; }
};

template <class A>
KeyBounds bounds_of(const AttentionRule<A>& rule, std::size_t keys, std::size_t row) {
  Index end = std::min(rule.end[row], static_cast<Index>(keys));
  Index begin = rule.begin ? std::max<Index>(0, rule.begin[row]) : 0;
  Index from = 0, to = 0;
  if (rule.hole_end != nullptr) {
    from = std::max(rule.hole_begin[row], begin), to = std::min(rule.hole_end[row], end);
    if (to <= from) from = to = 0;
  }
  const Index center = rule.center ? rule.center[row] : rule.end[row] - 1 - (to - from);
  if (to > from && to == end) end = from, from = to = 0;  // such a hole only makes the interval shorter
  if (end <= begin) return {0, 0, center};
  return {static_cast<std::size_t>(begin), static_cast<std::size_t>(end), center, static_cast<std::size_t>(from),
          static_cast<std::size_t>(to)};
}

/// The overlap of a query's keys with the block [j0, j0 + key_block), relative to j0; and of its hole, where keys of it
/// stand on both sides.
struct BlockRange {
  std::size_t lo = 0, hi = 0, hole_lo = 0, hole_hi = 0;
  BlockRange() = default;
  BlockRange(const KeyBounds& b, std::size_t j0) : lo(within(b.begin, j0)), hi(within(b.end, j0)) {
    if (b.hole() == 0) return;
    hole_lo = within(b.hole_begin, j0), hole_hi = within(b.hole_end, j0);
    if (hole_lo <= lo) lo = std::max(lo, hole_hi);
    if (hole_hi >= hi) hi = std::min(hi, hole_lo);
    if (hole_lo <= lo || hole_hi >= hi) hole_lo = hole_hi = 0;
    if (empty()) lo = hi = 0;  // the hole is all of it
  }
  bool empty() const { return hi <= lo; }
  bool whole() const { return lo == 0 && hi == key_block && hole_hi <= hole_lo; }

 private:
  static std::size_t within(std::size_t key, std::size_t j0) { return key > j0 ? std::min(key - j0, key_block) : 0; }
};

/// The keys of `query_tile` neighbouring queries: from the first of any to behind the last, and those that all see.
struct TileBounds {
  std::size_t first = static_cast<std::size_t>(-1), last = 0, all_from = 0, all_to = static_cast<std::size_t>(-1);
  bool hole = false;

  void add(const KeyBounds& b) {
    all_from = std::max(all_from, b.begin), all_to = std::min(all_to, b.end);
    if (b.begin < b.end) first = std::min(first, b.begin), last = std::max(last, b.end);
    hole = hole || b.hole() > 0;
  }
  bool whole(std::size_t j0) const { return !hole && all_from <= j0 && j0 + key_block <= all_to; }
};

/// What each query of a tile sees of the block of keys at j0, and from the first to the last of all that.
struct TileRange {
  BlockRange own[query_tile], all;

  TileRange(const TileBounds& tile, const KeyBounds* bounds, std::size_t j0) {
    if (tile.last <= j0 || tile.first >= j0 + key_block) return;
    if (tile.whole(j0)) {
      all.hi = key_block;
      for (BlockRange& range : own) range.hi = key_block;
      return;
    }
    all.lo = key_block;
    for (std::size_t r = 0; r < query_tile; ++r) {
      own[r] = BlockRange(bounds[r], j0);
      if (own[r].empty()) continue;
      all.lo = std::min(all.lo, own[r].lo);
      all.hi = std::max(all.hi, own[r].hi);
    }
  }
  bool empty() const { return all.empty(); }
};

/// The keys of many neighbouring queries, in whole tiles; queries that only fill the last tile see none.
struct QueryKeys {
  KeyBounds* bounds;  ///< [tiles · query_tile]
  TileBounds* tiles;  ///< [tiles]
  std::size_t count = 0, first = 0, last = 0;
  bool gaps = false;  ///< whether there may be keys between first and last that none sees

  QueryKeys(Pieces& memory, std::size_t queries) {
    const std::size_t most = (queries + query_tile - 1) / query_tile;
    bounds = memory.of<KeyBounds>(most * query_tile), tiles = memory.of<TileBounds>(most);
  }
  /// Queries [row, row + n) of all texts' queries, one behind the other.
  template <class A>
  void read(const AttentionRule<A>& rule, std::size_t keys, std::size_t row, std::size_t n) {
    count = (n + query_tile - 1) / query_tile, first = keys, last = 0, gaps = false;
    for (std::size_t i = 0; i < count * query_tile; ++i) {
      bounds[i] = i < n ? bounds_of(rule, keys, row + i) : KeyBounds{0, 0, 0};
      const KeyBounds& b = bounds[i];
      if (i % query_tile == 0) tiles[i / query_tile] = {};
      tiles[i / query_tile].add(b);
      if (b.begin >= b.end) continue;
      gaps = gaps || b.hole() > 0 || (last > 0 && (b.begin > last || b.end < first));
      first = std::min(first, b.begin), last = std::max(last, b.end);
    }
  }
};

/// Makes rows of keys or values in the block at j0 zero, packed by `pack_columns`, that no query sees: they may be
/// memory that nobody has written, and zero times that is no number.
template <class W>
void clear_unseen(const QueryKeys& queries, std::size_t j0, std::size_t keys, W* v, std::size_t v_row) {
  const auto clear = [&](std::size_t from, std::size_t to) {
    for (std::size_t j = from; j < to; ++j) clear_row(j, v, v_row);
  };
  if (!queries.gaps) {
    clear(0, std::min(keys, queries.first - std::min(queries.first, j0)));
    clear(std::min(keys, queries.last - std::min(queries.last, j0)), keys);
    return;
  }
  bool seen[key_block] = {};
  for (std::size_t i = 0; i < queries.count * query_tile; ++i) {
    const BlockRange range(queries.bounds[i], j0);
    if (range.empty()) continue;
    const std::size_t hole = range.hole_hi > range.hole_lo ? range.hole_lo : range.hi;
    std::fill(seen + range.lo, seen + hole, true);
    std::fill(seen + std::max(hole, range.hole_hi), seen + range.hi, true);
  }
  for (std::size_t j = 0; j < keys; ++j) {
    if (!seen[j]) clear_row(j, v, v_row);
  }
}

}  // namespace calm::kernel::detail
