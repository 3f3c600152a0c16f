/// \file  Host kernels of attention's gradients (Dao et al. 2022, algorithm 4), by the same words as forward.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/sum.hpp"

namespace calm::kernel {

/// Which of attention's gradients are added to what stands there; others are written.
struct AttentionAdds {
  bool q = true, k = true, v = true;
};

namespace detail {

/// What one attention's gradients are made from, and where they go: dq, dk and dv may be null.
template <class T>
struct AttentionGradients {
  const T *q, *k, *v, *out;
  const Accumulator<T>* lse;
  const T *d_out, *d_lse;
  T *dq, *dk, *dv;
  AttentionAdds adds;
};

/// What a thread makes at a time: the part of the gradients that queries [i_begin, i_end) and keys [j_begin, j_end) of
/// one key head of one text give each other. Ranges begin at whole blocks.
struct BackwardItem {
  std::size_t b, kv_head, i_begin, i_end, j_begin, j_end;

  std::size_t queries() const { return i_end - i_begin; }
};

/// Queries of one head and what comes back to them, as words along them (rows) and across them (columns).
template <class A, class W>
struct QuerySide {
  W *q, *d_out, *q_columns, *d_out_columns;
  A *dq, *delta;
};

inline constexpr std::size_t query_block = 64, most_queries = 8 * query_block;  // at a time, of each head

/// What a thread works in: some queries of all heads of an item, one block of its keys, and the gradients of its
/// `keys`.
template <class A, class W>
struct BackwardRoom {
  static constexpr bool plain = std::is_same_v<A, W>;  // then words along and across are the same
  std::size_t words, columns, row, queries;
  QueryKeys seen;
  QuerySide<A, W> all;
  W *kt, *vt, *k, *room, *p, *ds, *ds_rows;
  A *dk, *dv, *s, *dp;
  std::size_t size;

  BackwardRoom(Pieces memory, const AttentionExtents& e, std::size_t keys)
      : words(words_of<W>(e.width)),
        columns(padded<A>(e.width)),
        row(plain ? columns : words),
        queries(std::min(most_queries, (e.queries + query_block - 1) / query_block * query_block)),
        seen(memory, queries) {
    const std::size_t n = e.heads / e.kv_heads * queries;
    const auto across = [&](W* along) { return plain ? along : memory.of<W>(n / numbers_in<W> * columns); };
    all.q = memory.of<W>(n * row), all.q_columns = across(all.q);
    all.d_out = memory.of<W>(n * row), all.d_out_columns = across(all.d_out);
    all.dq = memory.of<A>(n * columns), all.delta = memory.of<A>(n);
    kt = memory.of<W>(words * key_block), vt = memory.of<W>(words * key_block), room = memory.of<W>(words * key_block);
    k = memory.of<W>(words_of<W>(key_block) * columns);
    p = memory.of<W>(words_of<W>(query_block) * key_block), ds = memory.of<W>(words_of<W>(query_block) * key_block);
    dk = memory.of<A>(keys * columns), dv = memory.of<A>(keys * columns);
    if constexpr (plain) {
      s = p, dp = ds, ds_rows = ds;
    } else {
      s = memory.of<A>(query_tile * key_block), dp = memory.of<A>(query_tile * key_block);
      ds_rows = memory.of<W>(query_block * words_of<W>(key_block));
    }
    size = memory.used;
  }
  /// Query i of the g-th head on.
  QuerySide<A, W> side(std::size_t g, std::size_t i) const {
    const std::size_t at = g * queries + i, column = at / numbers_in<W> * columns;
    return {all.q + at * row,           all.d_out + at * row,  all.q_columns + column,
            all.d_out_columns + column, all.dq + at * columns, all.delta + at};
  }
};

/// `rebuild` of a tile, in which each query sees what `range` says; others' are 0.
template <class A>
void rebuild_rows(const AttentionRule<A>& rule, std::size_t head, const QueryKeys& keys, std::size_t tile,
                  std::size_t j0, const TileRange& range, const A* lse, const A* delta, A* s, A* dp) {
  with_softmax_kernels([&](auto softmax) {
    if (only_scaled(rule) && keys.tiles[tile].whole(j0))
      return softmax.template rebuild<A>(query_tile, rule.scale, nullptr, lse, delta, s, dp);
    for (std::size_t r = 0; r < query_tile; ++r, s += key_block, dp += key_block) {
      A steep[key_block] = {};
      const A none = 0;
      const BlockRange& own = range.own[r];
      score_block(rule, head, keys.bounds[tile * query_tile + r], j0, own, s, steep);
      fill_outside(own, dp, A(0));
      softmax.template rebuild<A>(1, A(1), steep, own.empty() ? &none : lse + r, own.empty() ? &none : delta + r, s,
                                  dp);
    }
  });
}

/// Tile `tile` of queries, the i-th of their block, against the block of keys at j0: probabilities and gradients of
/// scores, as words. Widens `seen` by the keys that they see.
template <class A, class W>
void rebuild_tile(const AttentionRule<A>& rule, BlockProduct<W, A> multiply, const BackwardRoom<A, W>& w,
                  const QuerySide<A, W>& side, std::size_t head, std::size_t tile, std::size_t i, std::size_t j0,
                  const A* lse, BlockRange& seen) {
  constexpr std::size_t line = 64 / sizeof(A), words = words_of<W>(key_block), n = query_tile / numbers_in<W>;
  constexpr bool plain = std::is_same_v<A, W>;
  A *const s = w.s + (plain ? i * query_tile * key_block : 0), *const dp =
                                                                   w.dp + (plain ? i * query_tile * key_block : 0);
  const TileRange range(w.seen.tiles[tile], w.seen.bounds + tile * query_tile, j0);
  if (range.empty()) {
    std::fill_n(s, query_tile * key_block, A(0)), std::fill_n(dp, query_tile * key_block, A(0));
  } else {
    seen.lo = std::min(seen.lo, range.all.lo), seen.hi = std::max(seen.hi, range.all.hi);
    const std::size_t lo = range.all.lo / line * line, cols = padded<A>(range.all.hi) - lo,
                      row = i * query_tile * w.row;
    multiply(query_tile, cols, w.words, {side.q + row, w.row, 1}, w.kt + lo, key_block, s + lo, key_block, false);
    multiply(query_tile, cols, w.words, {side.d_out + row, w.row, 1}, w.vt + lo, key_block, dp + lo, key_block, false);
    rebuild_rows(rule, head, w.seen, tile, j0, range, lse + i * query_tile, side.delta + i * query_tile, s, dp);
  }
  if constexpr (!plain) {
    pack_columns(query_tile, key_block, key_block, s, w.p + i * n * key_block, key_block);
    pack_columns(query_tile, key_block, key_block, dp, w.ds + i * n * key_block, key_block);
    pack_rows(query_tile, key_block, key_block, dp, w.ds_rows + i * query_tile * words, words);
  }
}

/// One block of queries of one head against the block of keys at j0; adds to dq in the room, and to dk and dv, those of
/// this block of keys.
template <class A, class W>
void backward_block(const AttentionRule<A>& rule, BlockProduct<W, A> multiply, const BackwardRoom<A, W>& w,
                    std::size_t g, std::size_t head, std::size_t i0, std::size_t j0, const A* lse, A* dk, A* dv,
                    bool with_dq) {
  const QuerySide<A, W> side = w.side(g, i0);
  const std::size_t first = i0 / query_tile, tiles = std::min(query_block / query_tile, w.seen.count - first);
  const auto sees = [&](std::size_t t) { return w.seen.tiles[t].last > j0 && w.seen.tiles[t].first < j0 + key_block; };
  std::size_t from = 0, to = tiles;
  while (from < to && !sees(first + from)) ++from;
  while (to > from && !sees(first + to - 1)) --to;
  BlockRange seen;
  seen.lo = key_block;
  for (std::size_t i = from; i < to; ++i) rebuild_tile(rule, multiply, w, side, head, first + i, i, j0, lse, seen);
  if (seen.empty()) return;
  constexpr std::size_t tile_words = query_tile / numbers_in<W>, words = words_of<W>(key_block);
  const std::size_t depth = (to - from) * tile_words, at = from * tile_words;
  const std::size_t lo = seen.lo / query_tile * query_tile;
  const std::size_t rows = (seen.hi - lo + query_tile - 1) / query_tile * query_tile;
  if (dv) {
    multiply(rows, w.columns, depth, {w.p + at * key_block + lo, 1, key_block}, side.d_out_columns + at * w.columns,
             w.columns, dv + lo * w.columns, w.columns, true);
  }
  if (dk) {
    multiply(rows, w.columns, depth, {w.ds + at * key_block + lo, 1, key_block}, side.q_columns + at * w.columns,
             w.columns, dk + lo * w.columns, w.columns, true);
  }
  if (with_dq) {
    const std::size_t k = seen.lo / numbers_in<W>;
    multiply((to - from) * query_tile, w.columns, words_of<W>(seen.hi) - k,
             {w.ds_rows + from * query_tile * words + k, words, 1}, w.k + k * w.columns, w.columns,
             side.dq + from * query_tile * w.columns, w.columns, true);
  }
}

/// to[i, c] = from[i, c] (+ to[i, c] if `add`), of which there are `columns` in a row
template <class T, class A>
void put_gradients(std::size_t rows, std::size_t width, const A* from, std::size_t columns, bool add, T* to,
                   std::size_t stride) {
  with_row_kernels([=](auto set) {
    for (std::size_t i = 0; i < rows; ++i) {
      T* const row = to + i * stride;
      if (add)
        set.template add<A>(width, row, A(1), from + i * columns, row);
      else
        set.cast(width, from + i * columns, row);
    }
  });
}

/// Packs queries [i0, i0 + n) of all heads of an item, and sums up out · d_out of each.
template <class T, class A, class W>
void pack_queries(const AttentionExtents& e, const AttentionGradients<T>& x, const BackwardItem& item, std::size_t i0,
                  std::size_t n, const BackwardRoom<A, W>& w) {
  const std::size_t width = e.width, group = e.heads / e.kv_heads, stride = e.heads * width;
  for (std::size_t g = 0; g < group; ++g) {
    const std::size_t at = (item.b * e.queries + i0) * stride + (item.kv_head * group + g) * width;
    const QuerySide<A, W> side = w.side(g, 0);
    constexpr bool plain = BackwardRoom<A, W>::plain;
    if constexpr (!plain) {
      pack_rows(n, width, stride, x.q + at, side.q, w.row);
      pack_rows(n, width, stride, x.d_out + at, side.d_out, w.row);
    }
    const std::size_t there = words_of<W>(n) * w.columns, all = w.queries / numbers_in<W> * w.columns;
    for (const auto& [from, to] : {std::pair(x.q, side.q_columns), std::pair(x.d_out, side.d_out_columns)}) {
      if (!plain && !x.dk && !x.dv) break;
      pack_columns(n, width, stride, from + at, to, w.columns);
      std::fill(to + there, to + all, W{});
    }
    std::fill_n(side.dq, w.queries * w.columns, A(0));
    for (std::size_t i = 0; i < n; ++i) {
      const T *const out = x.out + at + i * stride, *const d_out = x.d_out + at + i * stride;
      side.delta[i] = with_row_kernels([=](auto set) { return set.template dot<A>(width, out, d_out); });
      if (x.d_lse) side.delta[i] -= A(x.d_lse[(at + i * stride) / width]);
    }
  }
}

/// Packed queries from i0 on, of all heads of an item, against all its keys.
template <class T, class A, class W>
void attend_backward(const AttentionExtents& e, const AttentionRule<A>& rule, const AttentionGradients<T>& x,
                     const BackwardItem& item, std::size_t i0, std::size_t n, const BackwardRoom<A, W>& w) {
  const std::size_t width = e.width, group = e.heads / e.kv_heads, stride = e.kv_heads * width;
  const auto multiply = fastest_block_product<W>();
  for (std::size_t j0 = item.j_begin; j0 < item.j_end; j0 += key_block) {
    if (w.seen.last <= j0 || w.seen.first >= j0 + key_block) continue;
    const std::size_t m = std::min(key_block, e.keys - j0), to = (j0 - item.j_begin) * w.columns;
    const std::size_t at = (item.b * e.keys + j0) * stride + item.kv_head * width;
    pack_turned(m, width, stride, x.k + at, w.kt, w.room);
    pack_turned(m, width, stride, x.v + at, w.vt, w.room);
    pack_columns(m, width, stride, x.k + at, w.k, w.columns);
    clear_unseen(w.seen, j0, m, w.k, w.columns);
    for (std::size_t g = 0; g < group; ++g) {
      const std::size_t head = item.kv_head * group + g;
      const A* const lse = x.lse + (item.b * e.heads + head) * e.queries + i0;
      for (std::size_t i = 0; i < n; i += query_block) {
        backward_block(rule, multiply, w, g, head, i, j0, lse + i, x.dk ? w.dk + to : nullptr,
                       x.dv ? w.dv + to : nullptr, x.dq != nullptr);
      }
    }
  }
}

template <class T, class A, class W>
void backward_item(const AttentionExtents& e, const AttentionRule<A>& rule, const AttentionGradients<T>& x,
                   const BackwardItem& item, BackwardRoom<A, W> w) {
  const std::size_t width = e.width, group = e.heads / e.kv_heads, keys = item.j_end - item.j_begin;
  const std::size_t whole = (keys + key_block - 1) / key_block * key_block * w.columns;
  if (x.dk) std::fill_n(w.dk, whole, A(0));
  if (x.dv) std::fill_n(w.dv, whole, A(0));
  for (std::size_t i0 = item.i_begin; i0 < item.i_end; i0 += w.queries) {
    const std::size_t n = std::min(w.queries, item.i_end - i0);
    w.seen.read(rule, e.keys, item.b * e.queries + i0, n);
    const bool sees_none = w.seen.last <= item.j_begin || w.seen.first >= item.j_end;
    if (sees_none && (x.dq == nullptr || x.adds.q)) continue;
    pack_queries(e, x, item, i0, n, w);
    if (!sees_none) attend_backward(e, rule, x, item, i0, n, w);
    for (std::size_t g = 0; x.dq && g < group; ++g) {
      const std::size_t to = (item.b * e.queries + i0) * e.heads + item.kv_head * group + g;
      put_gradients(n, width, w.side(g, 0).dq, w.columns, x.adds.q, x.dq + to * width, e.heads * width);
    }
  }
  const std::size_t stride = e.kv_heads * width, to = (item.b * e.keys + item.j_begin) * stride + item.kv_head * width;
  if (x.dk) put_gradients(keys, width, w.dk, w.columns, x.adds.k, x.dk + to, stride);
  if (x.dv) put_gradients(keys, width, w.dv, w.columns, x.adds.v, x.dv + to, stride);
}

/// `attention_backward` by products of words W. All of it in one pass where that keeps the threads busy; or else keys
/// and queries in a pass each, cut as finely as need be, for 7 products instead of 5.
template <class W, class T>
void attend_all_backward(const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule,
                         const AttentionGradients<T>& x) {
  using Room = BackwardRoom<Accumulator<T>, W>;
  const std::size_t heads = e.batch * e.kv_heads, team = threads(), rounds = (heads + team - 1) / team;
  // `parts` of the queries or of the keys of each key head
  const auto pass = [&](const AttentionGradients<T>& wanted, std::size_t parts, bool of_queries) {
    const std::size_t whole = of_queries ? e.queries : e.keys, blocks = (whole + key_block - 1) / key_block;
    const std::size_t most = of_queries ? (e.keys + key_block - 1) / key_block : (blocks + parts - 1) / parts;
    const std::size_t keys = wanted.dk || wanted.dv ? most * key_block : 0, size = Room({}, e, keys).size;
    const Storage<Cpu> memory((heads * parts == 1 ? 1 : team) * size);
    parallel_items(heads * parts, [&](std::size_t thread, std::size_t item) {
      // Most see each other where keys are early and queries late, in causal order: these come first.
      const std::size_t part = of_queries ? parts - 1 - item % parts : item % parts;
      const std::size_t b = item / parts / e.kv_heads, head = item / parts % e.kv_heads;
      const std::size_t from = blocks * part / parts * key_block;
      const std::size_t to = std::min(whole, blocks * (part + 1) / parts * key_block);
      if (from >= to) return;
      const BackwardItem ours =
          of_queries ? BackwardItem{b, head, from, to, 0, e.keys} : BackwardItem{b, head, 0, e.queries, from, to};
      const Pieces own{static_cast<std::byte*>(memory.data()) + thread * size};
      backward_item(e, rule, wanted, ours, Room(own, e, keys));
    });
  };
  if (7 * heads >= 5 * rounds * team) return pass(x, 1, true);
  AttentionGradients<T> of_keys = x, of_queries = x;
  of_keys.dq = nullptr, of_queries.dk = of_queries.dv = nullptr;
  const std::size_t parts = (2 * team + heads - 1) / heads;
  if (x.dq) pass(of_queries, parts, true);
  if (x.dk || x.dv) pass(of_keys, parts, false);
}

}  // namespace detail

/// Adds to d_sink [heads] the gradient of each head's sink: -Σ_i e^(sink - lse_i) · out_i·d_out_i.
template <class T>
void attention_sink_backward(Cpu, const AttentionExtents& e, const T* sink, const T* out, const Accumulator<T>* lse,
                             const T* d_out, T* d_sink) {
  using A = Accumulator<T>;
  parallel_ranges(e.heads, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t h = begin; h < end; ++h) {
      const A score = static_cast<A>(sink[h]);
      A sum = 0;
      for (std::size_t row = 0; row < e.batch * e.queries; ++row) {
        const std::size_t at = (row * e.heads + h) * e.width;
        const std::size_t b = row / e.queries, i = row % e.queries;
        const A dot = detail::sum_of<A>(e.width, [=](std::size_t c) { return A(out[at + c]) * A(d_out[at + c]); });
        sum += fast_exp(score - lse[(b * e.heads + h) * e.queries + i]) * dot;
      }
      d_sink[h] = static_cast<T>(A(d_sink[h]) - sum);
    }
  });
}

/// The gradients of attention, in dq, dk and dv, each of which may be null; where some are one, they are made in this
/// order. d_lse [batch, queries, heads], the gradient of the log-sum-exps, may be null: since d lse_i / d score_ij =
/// p_ij, it only lowers what stands beside out_i·d_out_i.
template <class T>
void attention_backward(Cpu, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q,
                        const T* k, const T* v, const T* out, const Accumulator<T>* lse, const T* d_out, T* dq, T* dk,
                        T* dv, const T* d_lse = nullptr, AttentionAdds adds = {}) {
  detail::attend_all_backward<WordOf<T>, T>(e, rule, {q, k, v, out, lse, d_out, d_lse, dq, dk, dv, adds});
}
/// The same with the operands of its products rounded to `R`.
template <class T, class R>
void attention_backward(Cpu, const AttentionExtents& e, const RoundedRule<Accumulator<T>, R>& rule, const T* q,
                        const T* k, const T* v, const T* out, const Accumulator<T>* lse, const T* d_out, T* dq, T* dk,
                        T* dv, const T* d_lse = nullptr, AttentionAdds adds = {}) {
  detail::attend_all_backward<WordOf<R>, T>(e, rule, {q, k, v, out, lse, d_out, d_lse, dq, dk, dv, adds});
}

#ifdef CALM_COMPILED
CALM_EXTERN template void attention_backward<float>(Cpu, const AttentionExtents&, const AttentionRule<float>&,
                                                    const float*, const float*, const float*, const float*,
                                                    const float*, const float*, float*, float*, float*, const float*,
                                                    AttentionAdds);
CALM_EXTERN template void attention_backward<double>(Cpu, const AttentionExtents&, const AttentionRule<double>&,
                                                     const double*, const double*, const double*, const double*,
                                                     const double*, const double*, double*, double*, double*,
                                                     const double*, AttentionAdds);
CALM_EXTERN template void attention_backward<bf16>(Cpu, const AttentionExtents&, const AttentionRule<float>&,
                                                   const bf16*, const bf16*, const bf16*, const bf16*, const float*,
                                                   const bf16*, bf16*, bf16*, bf16*, const bf16*,
                                                   AttentionAdds);
CALM_EXTERN template void attention_backward<float>(Cpu, const AttentionExtents&, const RoundedRule<float, bf16>&,
                                                    const float*, const float*, const float*, const float*,
                                                    const float*, const float*, float*, float*, float*, const float*,
                                                    AttentionAdds);
#endif

}  // namespace calm::kernel
