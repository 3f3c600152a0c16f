/// \file  Host kernel of attention where each text has one query, as decoding asks: keys and values are read once, where
/// they stand, and those of one text are cut among threads (Dao et al. 2023, "Flash-Decoding").
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/cpu/few_rows.hpp"

namespace calm::kernel {

namespace detail {

/// So many keys make a part, however many threads there are: the bits do not depend on that.
inline constexpr std::size_t keys_of_part = 256;

template <class T, class A>
void pack(std::size_t rows, std::size_t width, std::size_t stride, const T* x, A* y) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < width; ++c) y[r * width + c] = static_cast<A>(x[r * stride + c]);
  }
}

/// The softmax of each head over one part of its keys.   [heads, parts]
template <class A>
struct PartOfKeys {
  A* y;    ///< [heads, parts, width]: what it reads
  A* lse;  ///< [heads, parts]: the log of what it divides by; -∞ without keys
};

/// The queries q [n, width] of a few heads that share a key head, from `head` on, against keys [first, last) of text b.
template <class T, class A>
void attend_part(const AttentionExtents& e, const AttentionRule<A>& rule, std::size_t b, std::size_t head,
                 std::size_t n, std::size_t first, std::size_t last, const A* q, const T* k, const T* v,
                 std::size_t parts, PartOfKeys<A> result, A* scratch) {
  const std::size_t width = e.width, stride = e.kv_heads * width, row = parts * width;
  const KeyBounds all = bounds_of(rule, e.keys, b);
  const KeyBounds before{all.begin, all.hole() > 0 ? all.hole_begin : all.end, all.center};
  const KeyBounds behind{all.hole_end, all.hole() > 0 ? all.end : 0, all.center + static_cast<Index>(all.hole())};
  RunningSoftmax<A> soft[rows_in_tile];
  for (std::size_t r = 0; r < n; ++r) std::fill_n(result.y + r * row, width, A(0));
  for (const KeyBounds& keys : {before, behind}) {
    const std::size_t end = std::min(keys.end, last);
    for (std::size_t j0 = std::max(keys.begin, first); j0 < end; j0 += key_block) {
      BlockRange range;
      range.hi = std::min(key_block, end - j0);
      const std::size_t at = (b * e.keys + j0) * stride + head / (e.heads / e.kv_heads) * width;
      A s[rows_in_tile * key_block];
      multiply_few_rows(n, 0, range.hi, width, q, width, k + at, stride, s, key_block);
      for (std::size_t r = 0; r < n; ++r) {
        score_block(rule, head + r, keys, j0, range, s + r * key_block);
        weigh(A(1), width, s + r * key_block, soft[r], result.y + r * row);
      }
      if constexpr (std::is_same_v<T, A>) {
        add_product(n, width, range.hi, {s, key_block, 1}, v + at, stride, result.y, row);
      } else {
        pack(range.hi, width, stride, v + at, scratch);
        add_product<A>(n, width, range.hi, {s, key_block, 1}, scratch, width, result.y, row);
      }
    }
  }
  for (std::size_t r = 0; r < n; ++r) {
    const A sum = soft[r].total();
    result.lse[r * parts] = soft[r].top + std::log(sum);
    for (std::size_t c = 0; c < width && sum > 0; ++c) result.y[r * row + c] /= sum;
  }
}

/// One softmax over all parts of one head, and a sink (null: none). Returns the log of what it divides by.
template <class T, class A>
A join_parts(std::size_t parts, std::size_t width, PartOfKeys<A> of, const T* sink, T* out) {
  const A infinity = std::numeric_limits<A>::infinity();
  const A top = std::max(sink ? static_cast<A>(*sink) : -infinity, *std::max_element(of.lse, of.lse + parts));
  A total = sink ? std::exp(static_cast<A>(*sink) - top) : A(0);
  for (std::size_t p = 0; p < parts; ++p) {
    of.lse[p] = of.lse[p] > -infinity ? std::exp(of.lse[p] - top) : A(0);
    total += of.lse[p];
  }
  for (std::size_t c = 0; c < width; ++c) {
    A sum = 0;
    for (std::size_t p = 0; p < parts; ++p) sum += of.lse[p] * of.y[p * width + c];
    out[c] = static_cast<T>(total > 0 ? sum / total : A(0));
  }
  return top + std::log(total);
}

}  // namespace detail

/// As `attention`, for e.queries = 1.
template <class T>
void attention_of_one(Cpu, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q, const T* k,
                      const T* v, const T* sink, T* out, Accumulator<T>* lse) {
  using A = Accumulator<T>;
  using detail::keys_of_part, detail::rows_in_tile;
  std::size_t last = 1;
  for (std::size_t b = 0; b < e.batch; ++b) last = std::max(last, detail::bounds_of(rule, e.keys, b).end);
  const std::size_t parts = (last + keys_of_part - 1) / keys_of_part, heads = e.batch * e.heads;
  const std::size_t group = e.heads / e.kv_heads, tiles = (group + rows_in_tile - 1) / rows_in_tile;
  const std::size_t items = e.batch * e.kv_heads * tiles * parts, scratch = detail::key_block * e.width;
  const bool widened = !std::is_same_v<T, A>;
  const Storage<Cpu> memory(
      (heads * parts * (e.width + 1) + widened * (heads + parts_of(items, 2) * detail::key_block) * e.width) *
      sizeof(A));
  auto* const y = static_cast<A*>(memory.data());
  A *const sums = y + heads * parts * e.width, *const wide = sums + heads * parts, *const work = wide + heads * e.width;
  const A* queries;
  if constexpr (std::is_same_v<T, A>)
    queries = q;
  else
    queries = wide, detail::pack(heads, e.width, e.width, q, wide);
  parallel_ranges(items, 2, [&](std::size_t thread, std::size_t begin, std::size_t end) {
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t part = item % parts, tile = item / parts % tiles, kv_head = item / parts / tiles;
      const std::size_t at = kv_head * group + tile * rows_in_tile;  // of the heads of all texts
      detail::attend_part(e, rule, at / e.heads, at % e.heads, std::min(rows_in_tile, group - tile * rows_in_tile),
                          part * keys_of_part, (part + 1) * keys_of_part, queries + at * e.width, k, v, parts,
                          detail::PartOfKeys<A>{y + (at * parts + part) * e.width, sums + at * parts + part},
                          work + thread * scratch);
    }
  });
  for (std::size_t h = 0; h < heads; ++h) {
    const A sum = detail::join_parts<T, A>(parts, e.width, {y + h * parts * e.width, sums + h * parts},
                                           sink ? sink + h % e.heads : nullptr, out + h * e.width);
    if (lse) lse[h] = sum;
  }
}

}  // namespace calm::kernel
