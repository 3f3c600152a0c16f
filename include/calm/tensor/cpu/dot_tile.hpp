/// \file  Dot products of a few rows with many, all as they are stored, in registers. Included by `tile.hpp` once for
/// each instruction set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/tiles.hpp"
#else

namespace calm::kernel::CALM_SET {

/// In lane i: the sum of two of a's lanes, i and the one that differs in bit `D`, or of b's where i has that bit.
template <std::size_t D, class V, std::size_t... I>
[[gnu::always_inline]] inline V folded(const V& a, const V& b, std::index_sequence<I...>) {
  constexpr std::size_t n = sizeof...(I);
  return __builtin_shufflevector(a, b, static_cast<int>(I & D ? n + I : I)...) +
         __builtin_shufflevector(a, b, static_cast<int>((I & D ? n : 0) + (I ^ D))...);
}
/// In lane i the sum of all lanes of v[i mod N · Step].
template <std::size_t N, std::size_t Step, class V>
[[gnu::always_inline]] inline V lane_sums(const V* v) {
  if constexpr (N == 1)
    return *v;
  else
    return folded<N / 2>(lane_sums<N / 2, Step>(v), lane_sums<N / 2, Step>(v + N / 2 * Step),
                         std::make_index_sequence<sizeof(V) / sizeof((*v)[0])>{});
}

/// c[j] = a · b[j], as many as a register holds of them; `width` in whole registers. With `Fetch`, the rows of `next`
/// are asked for: each is a few cache lines far from the one before, a step that no processor guesses.
template <bool Fetch, class Rule, class Number>
[[gnu::always_inline]] inline void dot_tile(std::size_t width, const Number* a, const Number* b, std::size_t b_row,
                                            [[maybe_unused]] const Number* next, typename Rule::sum* c) {
  using V = typename Rule::V;
  constexpr std::size_t count = Register<typename Rule::sum>::count;
  V sum[count];
#pragma GCC unroll 16
  for (std::size_t j = 0; j < count; ++j) sum[j] = V{};
  for (std::size_t k = 0; k < width; k += register_bytes / sizeof(Number)) {
    V left, right;
    load(left, a + k);
#pragma GCC unroll 16
    for (std::size_t j = 0; j < count; ++j) {
      load(right, b + j * b_row + k);
      if constexpr (Fetch) __builtin_prefetch(next + j * b_row + k);
      Rule::add(sum[j], left, right);
    }
  }
  store(lane_sums<count, 1>(sum), c);
}
/// a · b for any width, added up in the same order.
template <class Rule, class Number>
typename Rule::sum dot(std::size_t width, const Number* a, const Number* b) {
  constexpr std::size_t per = register_bytes / sizeof(Number);
  typename Rule::V sum{};
  std::size_t k = 0;
  for (; k + per <= width; k += per) {
    typename Rule::V left, right;
    load(left, a + k);
    load(right, b + k);
    Rule::add(sum, left, right);
  }
  if (k < width) {
    typename Rule::V left{}, right{};
    std::memcpy(static_cast<void*>(&left), a + k, (width - k) * sizeof(Number));
    std::memcpy(static_cast<void*>(&right), b + k, (width - k) * sizeof(Number));
    Rule::add(sum, left, right);
  }
  return lane_sums<Register<typename Rule::sum>::count, 0>(&sum)[0];
}

/// A `RowProducts`.
template <class Rule>
void dot_rows(std::size_t rows, std::size_t columns, std::size_t width, const NumberOf<typename Rule::word>* a,
              const NumberOf<typename Rule::word>* b, std::size_t b_row, const NumberOf<typename Rule::word>* next,
              typename Rule::sum* c, std::size_t c_row) {
  constexpr std::size_t count = Register<typename Rule::sum>::count;
  std::size_t j = 0;
  for (; width * sizeof(*a) % register_bytes == 0 && j + count <= columns; j += count) {
    dot_tile<true, Rule>(width, a, b + j * b_row, b_row, next + j * b_row, c + j);
    for (std::size_t r = 1; r < rows; ++r)
      dot_tile<false, Rule>(width, a + r * width, b + j * b_row, b_row, next, c + r * c_row + j);
  }
  for (; j < columns; ++j) {
    for (std::size_t r = 0; r < rows; ++r) c[r * c_row + j] = dot<Rule>(width, a + r * width, b + j * b_row);
  }
}

}  // namespace calm::kernel::CALM_SET

#endif
