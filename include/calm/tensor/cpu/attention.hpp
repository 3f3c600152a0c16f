/// \file  Host kernels of blockwise attention (Dao et al. 2022, "FlashAttention", algorithms 1 and 4).
///
/// Scores exist for one block of queries against one block of keys at a time. Forward keeps the logarithm of each
/// softmax's denominator, from which backward (attention_backward.hpp) rebuilds the probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>

#include "calm/compiled.hpp"
#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/block_product.hpp"
#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/storage.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

inline constexpr std::size_t query_block = 64, key_block = 64;

template <class T, class A>
void pack(std::size_t rows, std::size_t width, std::size_t stride, const T* x, A* y) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < width; ++c) y[r * width + c] = static_cast<A>(x[r * stride + c]);
  }
}

/// y[c, r] = x[r, c] with `key_block` elements to a row of y, zero where x has no row.
template <class T, class A>
void pack_transposed(std::size_t rows, std::size_t width, std::size_t stride, const T* x, A* y) {
  const auto one_by_one = [&](std::size_t first_row, std::size_t last_row, std::size_t first, std::size_t last) {
    for (std::size_t c = first; c < last; ++c) {
      for (std::size_t r = first_row; r < last_row; ++r) y[c * key_block + r] = static_cast<A>(x[r * stride + c]);
    }
  };
  std::size_t whole_rows = 0, whole_width = 0;
  if constexpr (std::is_same_v<T, A>) {
    constexpr std::size_t n = Lanes<A>::count;
    whole_rows = rows / n * n, whole_width = width / n * n;
    for (std::size_t r = 0; r < whole_rows; r += n) {
      for (std::size_t c = 0; c < whole_width; c += n) {
        transpose_square(x + r * stride + c, stride, y + c * key_block + r, key_block);
      }
    }
  }
  one_by_one(0, whole_rows, whole_width, width);
  one_by_one(whole_rows, rows, 0, width);
  for (std::size_t c = 0; rows < key_block && c < width; ++c) {
    std::fill(y + c * key_block + rows, y + (c + 1) * key_block, A(0));
  }
}

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
  }
  bool empty() const { return hi <= lo; }
  bool whole() const { return lo == 0 && hi == key_block && hole_hi <= hole_lo; }

 private:
  static std::size_t within(std::size_t key, std::size_t j0) { return key > j0 ? std::min(key - j0, key_block) : 0; }
};

/// Turns the products of one query with the keys of `range` in the block at j0 into scores, those in its hole into -∞;
/// with `steep`, also into how fast each score grows with its product.
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
  std::fill(s + range.hole_lo, s + range.hole_hi, -std::numeric_limits<A>::infinity());
}

/// The keys of a few neighbouring queries in the block of keys at j0: each query's own, and from the first to the last
/// of them all.
struct TileRange {
  BlockRange own[rows_in_tile], all;

  TileRange(const KeyBounds* bounds, std::size_t rows, std::size_t j0) {
    all.lo = key_block;
    for (std::size_t r = 0; r < rows; ++r) {
      own[r] = BlockRange(bounds[r], j0);
      if (own[r].empty()) continue;
      all.lo = std::min(all.lo, own[r].lo);
      all.hi = std::max(all.hi, own[r].hi);
    }
  }
  bool empty() const { return all.empty(); }
};

/// Makes values zero that no query sees: they may be memory that nobody has written, and zero times that is no number.
template <class A>
void clear_unseen(const KeyBounds* bounds, std::size_t queries, std::size_t j0, std::size_t keys, std::size_t width,
                  A* v) {
  bool seen[key_block] = {};
  for (std::size_t i = 0; i < queries; ++i) {
    const BlockRange range(bounds[i], j0);
    if (range.empty()) continue;
    const std::size_t first = range.hole_hi > range.hole_lo ? range.hole_lo : range.hi;
    std::fill(seen + range.lo, seen + first, true);
    std::fill(seen + std::max(first, range.hole_hi), seen + range.hi, true);
  }
  for (std::size_t j = 0; j < keys; ++j) {
    if (!seen[j]) std::fill_n(v + j * width, width, A(0));
  }
}

/// The running softmax of one query: the largest score so far and the sum of e^(score - that).
template <class A>
struct RunningSoftmax {
  A top, sum;
};

/// Turns the scores s [key_block] of one query within `range` into weights relative to a new largest score, those
/// outside into 0; what was summed up before, also in acc [width], shrinks accordingly.
template <class A>
void weigh(const BlockRange& range, std::size_t width, A* s, RunningSoftmax<A>& soft, A* acc) {
  using L = Lanes<A>;
  using V = typename L::type;
  if (!range.whole()) {
    std::fill(s, s + range.lo, -std::numeric_limits<A>::infinity());
    std::fill(s + range.hi, s + key_block, -std::numeric_limits<A>::infinity());
  }
  V most = L::load(s);
  const auto larger = [](const V& x, const V& y) -> V { return y > x ? y : x; };
  for (std::size_t j = L::count; j < key_block; j += L::count) most = larger(most, L::load(s + j));
  const A high = std::max(soft.top, static_cast<A>(across<L::count / 2>(most, larger)[0]));
  if (soft.sum > 0 && high > soft.top) {
    const A shrink = fast_exp(soft.top - high);
    soft.sum *= shrink;
    for (std::size_t c = 0; c < width; ++c) acc[c] *= shrink;
  }
  soft.top = high;
  for (std::size_t j = 0; j < key_block; ++j) s[j] = fast_exp(s[j] - high);
  if (!range.whole()) {
    std::fill(s, s + range.lo, A(0));
    std::fill(s + range.hi, s + key_block, A(0));
    std::fill(s + range.hole_lo, s + range.hole_hi, A(0));
  }
  V total = L::load(s);
  for (std::size_t j = L::count; j < key_block; j += L::count) total += L::load(s + j);
  soft.sum += across<L::count / 2>(total, [](const V& x, const V& y) -> V { return x + y; })[0];
}

/// One block of queries of one head against all their keys.
template <class T, class A>
void attend(const AttentionExtents& e, const AttentionRule<A>& rule, std::size_t b, std::size_t h, std::size_t i0,
            std::size_t n, const T* q, const T* k, const T* v, const T* sink, T* out, A* lse, A* scratch) {
  const std::size_t width = e.width, q_stride = e.heads * width, kv_stride = e.kv_heads * width;
  const std::size_t kv_head = h / (e.heads / e.kv_heads);
  A* kt = scratch;
  A* vp = kt + width * key_block;
  A* qp = vp + key_block * width;
  A* acc = qp + query_block * width;
  RunningSoftmax<A> soft[query_block];
  KeyBounds bounds[query_block];
  std::size_t first = e.keys, last = 0;
  for (std::size_t i = 0; i < n; ++i) {
    bounds[i] = bounds_of(rule, e.keys, b * e.queries + i0 + i);
    if (bounds[i].begin < bounds[i].end) {
      first = std::min(first, bounds[i].begin);
      last = std::max(last, bounds[i].end);
    }
    // The sink is a first key, of value zero.
    soft[i] = {sink ? static_cast<A>(sink[h]) : -std::numeric_limits<A>::infinity(), sink ? A(1) : A(0)};
  }
  pack(n, width, q_stride, q + (b * e.queries + i0) * q_stride + h * width, qp);
  std::fill_n(acc, n * width, A(0));

  for (std::size_t j0 = first; j0 < last; j0 += key_block) {
    const std::size_t m = std::min(key_block, last - j0);
    const std::size_t at = (b * e.keys + j0) * kv_stride + kv_head * width;
    pack_transposed(m, width, kv_stride, k + at, kt);
    pack(m, width, kv_stride, v + at, vp);
    clear_unseen(bounds, n, j0, m, width, vp);
    for (std::size_t i = 0; i < n; i += rows_in_tile) {
      const std::size_t rows = std::min(rows_in_tile, n - i);
      const TileRange range(bounds + i, rows, j0);
      if (range.empty()) continue;
      A s[rows_in_tile * key_block] = {};
      add_product(rows, key_block, width, {qp + i * width, width, 1}, kt, key_block, s, key_block);
      for (std::size_t r = 0; r < rows; ++r) {
        A* row = s + r * key_block;
        if (range.own[r].empty()) {
          std::fill_n(row, key_block, A(0));
          continue;
        }
        score_block(rule, h, bounds[i + r], j0, range.own[r], row);
        weigh(range.own[r], width, row, soft[i + r], acc + (i + r) * width);
      }
      add_product(rows, width, range.all.hi - range.all.lo, {s + range.all.lo, key_block, 1},
                  vp + range.all.lo * width, width, acc + i * width, width);
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    const A inverse = soft[i].sum > 0 ? A(1) / soft[i].sum : A(0);
    T* o = out + (b * e.queries + i0 + i) * q_stride + h * width;
    for (std::size_t c = 0; c < width; ++c) o[c] = static_cast<T>(acc[i * width + c] * inverse);
    // -∞ without keys
    if (lse) lse[(b * e.heads + h) * e.queries + i0 + i] = soft[i].top + std::log(soft[i].sum);
  }
}

/// Queries that are computed together: `count` from `first` on, counted over the rows of all texts.
struct QueryBlock {
  std::size_t first, count;
};

/// Cuts the queries into blocks of at most `query_block`; also where a query sees nothing that the one before it sees,
/// as at the beginning of a packed text: so a text has the same bits wherever it stands. Returns how many there are.
template <class A>
std::size_t cut_queries(const AttentionExtents& e, const AttentionRule<A>& rule, QueryBlock* blocks) {
  std::size_t n = 0;
  for (std::size_t row = 0; row < e.batch * e.queries; ++row) {
    const KeyBounds bounds = bounds_of(rule, e.keys, row);
    bool begins = row % e.queries == 0 || blocks[n - 1].count == query_block;
    if (!begins) {
      const KeyBounds before = bounds_of(rule, e.keys, row - 1);
      begins = bounds.begin >= before.end || bounds.end == 0;
    }
    if (begins) blocks[n++] = {row, 0};
    ++blocks[n - 1].count;
  }
  return n;
}

}  // namespace detail

/// out = softmax(scores) · v; a query without keys gets zeros. `sink` [heads], one more score in each softmax whose
/// value is zero, may be null, and so may `lse` [batch, heads, queries], the logarithm of each softmax's denominator.
template <class T>
void attention(Cpu, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q, const T* k,
               const T* v, const T* sink, T* out, Accumulator<T>* lse) {
  using A = Accumulator<T>;
  const Storage<Cpu> cut(e.batch * e.queries * sizeof(detail::QueryBlock));
  auto* const block = static_cast<detail::QueryBlock*>(cut.data());
  const std::size_t blocks = detail::cut_queries(e, rule, block), items = blocks * e.heads;
  const std::size_t grain = e.batch * e.heads * e.queries * e.keys * e.width > (1u << 16) ? 1 : items;
  const std::size_t scratch = 2 * (detail::key_block + detail::query_block) * e.width;
  const Storage<Cpu> memory(parts_of(items, grain) * scratch * sizeof(A));
  parallel_ranges(items, grain, [&](std::size_t part, std::size_t begin, std::size_t end) {
    A* const own = static_cast<A*>(memory.data()) + part * scratch;
    for (std::size_t item = begin; item < end; ++item) {
      const auto [first, count] = block[item % blocks];
      detail::attend(e, rule, first / e.queries, item / blocks, first % e.queries, count, q, k, v, sink, out, lse, own);
    }
  });
}

/// result[b, i, h] = lse[b, h, i]
template <class T>
void attention_lse(Cpu, const AttentionExtents& e, const Accumulator<T>* lse, T* result) {
  const std::size_t rows = e.batch * e.queries;
  parallel_ranges(rows, (1 << 15) / e.heads + 1, [=](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      const Accumulator<T>* from = lse + row / e.queries * e.heads * e.queries + row % e.queries;
      for (std::size_t h = 0; h < e.heads; ++h) result[row * e.heads + h] = static_cast<T>(from[h * e.queries]);
    }
  });
}

#ifdef CALM_COMPILED
CALM_EXTERN template void attention<float>(Cpu, const AttentionExtents&, const AttentionRule<float>&, const float*,
                                           const float*, const float*, const float*, float*, float*);
CALM_EXTERN template void attention<double>(Cpu, const AttentionExtents&, const AttentionRule<double>&, const double*,
                                            const double*, const double*, const double*, double*, double*);
CALM_EXTERN template void attention<bf16>(Cpu, const AttentionExtents&, const AttentionRule<float>&, const bf16*,
                                          const bf16*, const bf16*, const bf16*, bf16*, float*);
#endif

}  // namespace calm::kernel
