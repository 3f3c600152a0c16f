/// \file  Host kernels of blockwise attention (Dao et al. 2022, "FlashAttention", algorithms 1 and 4).
///
/// Scores exist for one block of queries against one block of keys at a time. Forward keeps the logarithm of each
/// softmax's denominator, from which backward (attention_backward.hpp) rebuilds the probabilities. Products are made of
/// words: numbers as they are, or pairs of bf16, to which queries, keys, values and probabilities are then rounded.
/// Scores, softmax and sums are of the type in which T adds up. No result depends on how the work is cut.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "calm/compiled.hpp"
#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/attention_mask.hpp"
#include "calm/tensor/cpu/attention_scores.hpp"
#include "calm/tensor/cpu/attention_words.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/cpu/tiles.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

namespace detail {

/// What one attention reads and writes.
template <class T, class C>
struct AttentionArrays {
  const T* q;
  const C *k, *v;
  const T* sink;
  T* out;
  Accumulator<T>* lse;
};

/// Queries of one head that are computed together: `count` from `row` on, counted over all texts. Their blocks of keys
/// begin `key_block` from each other and from `origin`, where the text begins.
struct QueryGroup {
  std::size_t row, count, origin;
};

/// Cuts the queries into groups of at most `most`; also where a query sees nothing that those before it see, as at the
/// beginning of a packed text: so a text has the same bits wherever it stands. Returns how many there are.
template <class A>
std::size_t cut_queries(const AttentionExtents& e, const AttentionRule<A>& rule, std::size_t most, QueryGroup* groups) {
  std::size_t n = 0, end = 0;
  for (std::size_t row = 0; row < e.batch * e.queries; ++row) {
    const KeyBounds bounds = bounds_of(rule, e.keys, row);
    if (row % e.queries == 0) end = 0;
    const bool empty = bounds.begin >= bounds.end, begins = row % e.queries == 0 || (!empty && bounds.begin >= end);
    if (!empty) end = bounds.end;
    if (begins || groups[n - 1].count == most) {
      groups[n] = {row, 0, begins ? bounds.begin : groups[n - 1].origin};
      ++n;
    }
    ++groups[n - 1].count;
  }
  return n;
}

/// How forward is cut into items: a few heads of one key head, for which its keys and values are packed once, and so
/// many of their queries. No bit depends on either.
struct ForwardCut {
  std::size_t heads, parts, queries;

  explicit ForwardCut(const AttentionExtents& e) : heads(std::min<std::size_t>(e.heads / e.kv_heads, 4)) {
    for (queries = 256 / heads / key_block * key_block;; heads > 1 ? heads = 1 : queries /= 2) {
      parts = (e.heads / e.kv_heads + heads - 1) / heads;
      const std::size_t items = e.batch * e.kv_heads * parts * ((e.queries + queries - 1) / queries);
      if (items >= 4 * threads() || threads() == 1 || (heads == 1 && queries <= key_block)) break;
    }
  }
};

/// What a thread works in.
template <class A, class W>
struct ForwardRoom {
  std::size_t words, columns, most;
  QueryKeys keys;
  W *kt, *v, *room, *q;
  A *s, *acc;
  W* p;
  RunningSoftmax<A>* soft;

  ForwardRoom(Pieces memory, std::size_t width, const ForwardCut& cut)
      : words(words_of<W>(width)), columns(padded<A>(width)), most(cut.queries), keys(memory, cut.queries) {
    kt = memory.of<W>(words * key_block), v = memory.of<W>(words_of<W>(key_block) * columns);
    room = memory.of<W>(words * key_block), q = memory.of<W>(cut.heads * most * words);
    acc = memory.of<A>(cut.heads * most * columns), soft = memory.of<RunningSoftmax<A>>(cut.heads * most);
    s = memory.of<A>(query_tile * key_block);
    if constexpr (std::is_same_v<A, W>)
      p = s;
    else
      p = memory.of<W>(query_tile * words_of<W>(key_block));
    size = memory.used;
  }
  std::size_t size;
};

/// A tile of queries of one head, from row i of the room's on, against the block of keys at j0.
template <class A, class W>
void attend_tile(const AttentionRule<A>& rule, BlockProduct<W, A> multiply, const ForwardRoom<A, W>& w,
                 std::size_t head, std::size_t tile, std::size_t row, std::size_t j0) {
  const KeyBounds* const bounds = w.keys.bounds + tile * query_tile;
  const TileRange range(w.keys.tiles[tile], bounds, j0);
  if (range.empty()) return;
  constexpr std::size_t line = 64 / sizeof(A), p_row = words_of<W>(key_block);
  const std::size_t lo = range.all.lo / line * line, hi = padded<A>(range.all.hi);
  multiply(query_tile, hi - lo, w.words, {w.q + row * w.words, w.words, 1}, w.kt + lo, key_block, w.s + lo, key_block,
           false);
  const bool scored = !only_scaled(rule) || !w.keys.tiles[tile].whole(j0);
  for (std::size_t r = 0; scored && r < query_tile; ++r)
    score_block(rule, head, bounds[r], j0, range.own[r], w.s + r * key_block);
  with_softmax_kernels([&](auto softmax) {
    softmax.weigh(query_tile, scored ? A(1) : rule.scale, w.columns, w.s, w.soft + row, w.acc + row * w.columns,
                  w.columns);
  });
  if constexpr (!std::is_same_v<A, W>) pack_rows(query_tile, key_block, key_block, w.s, w.p, p_row);
  const std::size_t first = range.all.lo / numbers_in<W>, last = words_of<W>(range.all.hi);
  multiply(query_tile, w.columns, last - first, {w.p + first, p_row, 1}, w.v + first * w.columns, w.columns,
           w.acc + row * w.columns, w.columns, true);
}

/// A group of queries of heads [head, head + heads), which share a key head, against all their keys.
template <class T, class C, class A, class W>
void attend(const AttentionExtents& e, const AttentionRule<A>& rule, const AttentionArrays<T, C>& arrays,
            const QueryGroup& group, std::size_t head, std::size_t heads, ForwardRoom<A, W> w) {
  const std::size_t width = e.width, q_stride = e.heads * width, kv_stride = e.kv_heads * width, n = group.count;
  const std::size_t at = group.row * q_stride + head * width, b = group.row / e.queries;
  const auto multiply = fastest_block_product<W>();
  const T* const sink = arrays.sink;
  w.keys.read(rule, e.keys, group.row, n);
  std::fill_n(w.acc, heads * w.most * w.columns, A(0));
  for (std::size_t g = 0; g < heads; ++g) {
    pack_rows(n, width, q_stride, arrays.q + at + g * width, w.q + g * w.most * w.words, w.words);
    RunningSoftmax<A> start;
    if (sink) start.top = static_cast<A>(sink[head + g]), start.sum[0] = 1;  // a first key, of value zero
    std::fill_n(w.soft + g * w.most, w.keys.count * query_tile, start);
  }
  const std::size_t first = w.keys.first - (w.keys.first - std::min(group.origin, w.keys.first)) % key_block;
  for (std::size_t j0 = first; j0 < w.keys.last; j0 += key_block) {
    const std::size_t m = std::min(key_block, w.keys.last - j0);
    const std::size_t from = (b * e.keys + j0) * kv_stride + head / (e.heads / e.kv_heads) * width;
    pack_turned(m, width, kv_stride, arrays.k + from, w.kt, w.room);
    pack_columns(m, width, kv_stride, arrays.v + from, w.v, w.columns);
    clear_unseen(w.keys, j0, m, w.v, w.columns);
    for (std::size_t g = 0; g < heads; ++g) {
      for (std::size_t tile = 0; tile < w.keys.count; ++tile)
        attend_tile(rule, multiply, w, head + g, tile, g * w.most + tile * query_tile, j0);
    }
  }
  for (std::size_t g = 0; g < heads; ++g) {
    for (std::size_t i = 0; i < n; ++i) {
      const RunningSoftmax<A>& soft = w.soft[g * w.most + i];
      const A sum = soft.total(), inverse = sum > 0 ? A(1) / sum : A(0);
      const A* const acc = w.acc + (g * w.most + i) * w.columns;
      T* const out = arrays.out + at + i * q_stride + g * width;
      for (std::size_t c = 0; c < width; ++c) out[c] = static_cast<T>(acc[c] * inverse);
      // -∞ without keys
      if (arrays.lse)
        arrays.lse[(b * e.heads + head + g) * e.queries + group.row % e.queries + i] = soft.top + std::log(sum);
    }
  }
}

/// `attention` by products of words W.
template <class W, class T, class C>
void attend_all(const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule,
                const AttentionArrays<T, C>& arrays) {
  using Room = ForwardRoom<Accumulator<T>, W>;
  const ForwardCut cut(e);
  const Storage<Cpu> list(e.batch * e.queries * sizeof(QueryGroup));
  auto* const groups = static_cast<QueryGroup*>(list.data());
  const std::size_t n = cut_queries(e, rule, cut.queries, groups), shared = e.heads / e.kv_heads;
  const std::size_t items = n * e.kv_heads * cut.parts, size = Room({}, e.width, cut).size;
  const bool serial = e.batch * e.heads * e.queries * e.keys * e.width <= (1u << 16);
  const Storage<Cpu> memory((serial || items == 1 ? 1 : threads()) * size);
  const auto one = [&](std::size_t part, std::size_t item) {
    // The last queries see most keys in causal order, so they come first.
    const QueryGroup& group = groups[n - 1 - item % n];
    const std::size_t rest = item / n, first = rest % cut.parts * cut.heads;
    attend(e, rule, arrays, group, rest / cut.parts * shared + first, std::min(cut.heads, shared - first),
           Room({static_cast<std::byte*>(memory.data()) + part * size}, e.width, cut));
  };
  if (!serial) return parallel_items(items, one);
  for (std::size_t item = 0; item < items; ++item) one(0, item);
}

}  // namespace detail

/// out = softmax(scores) · v; a query without keys gets zeros. `sink` [heads], one more score in each softmax whose
/// value is zero, may be null, and so may `lse` [batch, heads, queries], the logarithm of each softmax's denominator.
/// Keys and values may be of another type than the queries.
template <class T, class C>
void attention(Cpu, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q, const C* k,
               const C* v, const T* sink, T* out, Accumulator<T>* lse) {
  detail::attend_all<WordOf<T>, T, C>(e, rule, {q, k, v, sink, out, lse});
}
/// The same with the operands of its products rounded to `R`.
template <class T, class C, class R>
void attention(Cpu, const AttentionExtents& e, const RoundedRule<Accumulator<T>, R>& rule, const T* q, const C* k,
               const C* v, const T* sink, T* out, Accumulator<T>* lse) {
  detail::attend_all<WordOf<R>, T, C>(e, rule, {q, k, v, sink, out, lse});
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
CALM_EXTERN template void attention<float>(Cpu, const AttentionExtents&, const RoundedRule<float, bf16>&, const float*,
                                           const float*, const float*, const float*, float*, float*);
#endif

}  // namespace calm::kernel
