/// \file  Host kernel of attention where each text has one query, as decoding asks: keys and values are read once,
/// where they stand, and those of one text are cut among threads (Dao et al. 2023, "Flash-Decoding").
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/attention.hpp"

namespace calm::kernel {

namespace detail {

/// So many keys make a part, however many threads there are: the bits do not depend on that.
inline constexpr std::size_t keys_of_part = 256;

/// The softmax of each head over one part of its keys.   [heads, parts]
template <class A>
struct PartOfKeys {
  A* y;    ///< [heads, parts, width]: what it reads
  A* lse;  ///< [heads, parts]: the log of what it divides by; -∞ without keys
};

/// Up to so many queries are scored together.
inline constexpr std::size_t rows_in_tile = 4;

}  // namespace detail

}  // namespace calm::kernel

#define CALM_KERNELS "calm/tensor/cpu/one_query_kernels.hpp"
#include "calm/tensor/cpu/each_set.hpp"

namespace calm::kernel {

namespace detail {

/// f(one), `one` being a `OneQuery`.
template <class F>
void with_one_query_kernels(const F& f) {
  with_instructions<native::OneQuery, avx2::OneQuery, avx512::OneQuery>(f);
}

/// The queries q [Rows, width] of a few heads that share a key head, from `head` on, against keys [first, last) of text
/// b. What is read next stands at `next` of keys and of values.
template <std::size_t Rows, class C, class A>
void attend_part(const AttentionExtents& e, const AttentionRule<A>& rule, std::size_t b, std::size_t head,
                 std::size_t first, std::size_t last, const C* q, const C* k, const C* v, std::size_t next,
                 std::size_t parts, PartOfKeys<A> result) {
  const std::size_t width = e.width, stride = e.kv_heads * width, row = parts * width;
  const KeyBounds all = bounds_of(rule, e.keys, b);
  const KeyBounds before{all.begin, all.hole() > 0 ? all.hole_begin : all.end, all.center};
  const KeyBounds behind{all.hole_end, all.hole() > 0 ? all.end : 0, all.center + static_cast<Index>(all.hole())};
  const auto multiply = fastest_row_products<WordOf<C>>();
  RunningSoftmax<A> soft[Rows];
  for (std::size_t r = 0; r < Rows; ++r) std::fill_n(result.y + r * row, width, A(0));
  for (const KeyBounds& keys : {before, behind}) {
    const std::size_t end = std::min(keys.end, last);
    for (std::size_t j0 = std::max(keys.begin, first); j0 < end; j0 += key_block) {
      BlockRange range;
      range.hi = std::min(key_block, end - j0);
      const std::size_t at = (b * e.keys + j0) * stride + head / (e.heads / e.kv_heads) * width;
      const std::size_t then = j0 + key_block < end ? at + key_block * stride : next;
      A s[Rows * key_block];
      multiply(Rows, range.hi, width, q, k + at, stride, k + then, s, key_block);
      for (std::size_t r = 0; r < Rows; ++r) score_block(rule, head + r, keys, j0, range, s + r * key_block);
      with_softmax_kernels([&](auto softmax) { softmax.weigh(Rows, A(1), width, s, soft, result.y, row); });
      with_one_query_kernels([&](auto one) {
        one.template add_values<Rows>(range.hi, width, s, v + at, stride, v + then, result.y, row);
      });
    }
  }
  for (std::size_t r = 0; r < Rows; ++r) {
    const A sum = soft[r].total();
    result.lse[r * parts] = soft[r].top + std::log(sum);
    if (sum > 0) std::for_each_n(result.y + r * row, width, [sum](A& y) { y /= sum; });
  }
}

/// Calls f with n, which is 1 to rows_in_tile, as a constant.
template <class F>
void with_rows(std::size_t n, const F& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    ((n == I + 1 ? f(std::integral_constant<std::size_t, I + 1>{}) : void()), ...);
  }
  (std::make_index_sequence<rows_in_tile>{});
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
  for (std::size_t c = 0; c < width; ++c) of.y[c] *= of.lse[0];
  for (std::size_t p = 1; p < parts; ++p) {
    for (std::size_t c = 0; c < width; ++c) of.y[c] += of.lse[p] * of.y[p * width + c];
  }
  for (std::size_t c = 0; c < width; ++c) out[c] = static_cast<T>(total > 0 ? of.y[c] / total : A(0));
  return top + std::log(total);
}

}  // namespace detail

/// As `attention`, for e.queries = 1. Keys and values may be of another type than the queries, which are rounded to it.
template <class T, class C>
void attention_of_one(Cpu, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q, const C* k,
                      const C* v, const T* sink, T* out, Accumulator<T>* lse) {
  using A = Accumulator<T>;
  using detail::keys_of_part, detail::rows_in_tile;
  std::size_t last = 1;
  for (std::size_t b = 0; b < e.batch; ++b) last = std::max(last, detail::bounds_of(rule, e.keys, b).end);
  const std::size_t parts = (last + keys_of_part - 1) / keys_of_part, heads = e.batch * e.heads;
  const std::size_t group = e.heads / e.kv_heads, tiles = (group + rows_in_tile - 1) / rows_in_tile;
  const std::size_t items = e.batch * e.kv_heads * tiles * parts;
  constexpr bool rounded = !std::is_same_v<T, C>;
  const std::size_t numbers = heads * parts * (e.width + 1);
  const Storage<Cpu> memory(numbers * sizeof(A) + rounded * heads * e.width * sizeof(C));
  auto* const y = static_cast<A*>(memory.data());
  A* const sums = y + heads * parts * e.width;
  const C* queries = nullptr;
  if constexpr (rounded) {
    auto* const to = reinterpret_cast<C*>(y + numbers);
    detail::store_row(heads * e.width, q, to);
    queries = to;
  } else {
    queries = q;
  }
  const auto first_key = [&](std::size_t item) {
    const std::size_t kv_head = item / parts / tiles, b = kv_head / e.kv_heads;
    const std::size_t j = std::max(item % parts * keys_of_part, detail::bounds_of(rule, e.keys, b).begin);
    return ((b * e.keys + j) * e.kv_heads + kv_head % e.kv_heads) * e.width;
  };
  parallel_ranges(items, 2, [&](std::size_t begin, std::size_t end) {
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t part = item % parts, tile = item / parts % tiles, kv_head = item / parts / tiles;
      const std::size_t at = kv_head * group + tile * rows_in_tile;  // of the heads of all texts
      const auto attend = [&]<std::size_t Rows>(std::integral_constant<std::size_t, Rows>) {
        detail::attend_part<Rows>(e, rule, at / e.heads, at % e.heads, part * keys_of_part, (part + 1) * keys_of_part,
                                  queries + at * e.width, k, v, first_key(std::min(item + 1, end - 1)), parts,
                                  detail::PartOfKeys<A>{y + (at * parts + part) * e.width, sums + at * parts + part});
      };
      detail::with_rows(std::min(rows_in_tile, group - tile * rows_in_tile), attend);
    }
  });
  for (std::size_t h = 0; h < heads; ++h) {
    const A sum = detail::join_parts<T, A>(parts, e.width, {y + h * parts * e.width, sums + h * parts},
                                           sink ? sink + h % e.heads : nullptr, out + h * e.width);
    if (lse) lse[h] = sum;
  }
}

}  // namespace calm::kernel
