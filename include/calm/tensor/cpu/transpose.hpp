/// \file  Transposes of words of 4 or 8 bytes, square by square in registers.
///
/// The first step, which exchanges halves of registers, is made by loading halves, and the last ones within 16 bytes,
/// where shuffles are cheapest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "calm/tensor/cpu/lanes.hpp"  // Lanes, exchange

namespace calm::kernel::detail {

/// Of each 16 bytes of a and of b the first half, or the second if `High`, number by number in turn.
template <bool High, class V>
[[gnu::always_inline]] inline V interleave(const V& a, const V& b) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    constexpr std::size_t n = sizeof...(I), lane = 16 / sizeof(a[0]);
    return __builtin_shufflevector(
        a, b, static_cast<int>(I / lane * lane + (High ? lane / 2 : 0) + I % lane / 2 + I % 2 * n)...);
  }
  (std::make_index_sequence<sizeof(V) / sizeof(a[0])>{});
}

/// Transposes the squares that each 16 bytes of consecutive registers are: 4 by 4 numbers of 4 bytes, 2 by 2 of 8.
template <class V, std::size_t N>
[[gnu::always_inline]] inline void transpose_lanes(V (&v)[N]) {
  using Pairs = Lanes<std::uint64_t>::type;  // of numbers of 4 bytes
#pragma GCC unroll 16
  for (std::size_t i = 0; i < N; i += 16 / sizeof(v[0][0])) {
    if constexpr (sizeof(v[0][0]) == 8) {
      const V a = v[i], b = v[i + 1];
      v[i] = interleave<false>(a, b), v[i + 1] = interleave<true>(a, b);
    } else {
      const Pairs ab = (Pairs)interleave<false>(v[i], v[i + 1]), cd = (Pairs)interleave<false>(v[i + 2], v[i + 3]);
      const Pairs AB = (Pairs)interleave<true>(v[i], v[i + 1]), CD = (Pairs)interleave<true>(v[i + 2], v[i + 3]);
      v[i] = (V)interleave<false>(ab, cd), v[i + 1] = (V)interleave<true>(ab, cd);
      v[i + 2] = (V)interleave<false>(AB, CD), v[i + 3] = (V)interleave<true>(AB, CD);
    }
  }
}

/// A register from two halves in memory.
template <class V, class Bits>
[[gnu::always_inline]] inline V load_halves(const Bits* low, const Bits* high) {
  typedef Bits Half __attribute__((vector_size(sizeof(V) / 2)));
#if defined(__AVX512F__) && !defined(__clang__)
  if constexpr (sizeof(V) == 64) {  // GCC makes shuffles of it, which are what is scarce
    typedef Bits Unaligned __attribute__((vector_size(sizeof(V) / 2), aligned(alignof(Bits)), may_alias));
    V v;
    asm("vmovdqu64 %1, %t0\n\tvinserti64x4 $1, %2, %0, %0"
        : "=&v"(v)
        : "m"(*reinterpret_cast<const Unaligned*>(low)), "m"(*reinterpret_cast<const Unaligned*>(high)));
    return v;
  }
#endif
  Half l, h;
  std::memcpy(&l, low, sizeof(l));
  std::memcpy(&h, high, sizeof(h));
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return __builtin_shufflevector(l, h, static_cast<int>(I)...);
  }
  (std::make_index_sequence<sizeof(V) / sizeof(Bits)>{});
}

struct Unchanged {
  template <class V>
  static void change(V&) {}
};
/// Of two rows of two numbers of 2 bytes each, which are a word of 8, those off the diagonal change places.
struct SwapPairs {
  template <class V>
  [[gnu::always_inline]] static inline void change(V& v) {
    typedef std::uint16_t Shorts __attribute__((vector_size(sizeof(V))));
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      constexpr int place[] = {0, 2, 1, 3};
      v = (V)__builtin_shufflevector((Shorts)v, (Shorts)v, (static_cast<int>(I / 4 * 4) + place[I % 4])...);
    }
    (std::make_index_sequence<sizeof(V) / 2>{});
  }
};

/// y[c, r] = x[r, c] for as many words as a register holds by as many, each changed by `Rule`.
template <class Rule, class Bits>
[[gnu::always_inline]] inline void turn_square(const Bits* x, std::size_t x_row, Bits* y, std::size_t y_row) {
  using V = typename Lanes<Bits>::type;
  constexpr std::size_t n = Lanes<Bits>::count, half = n / 2;
  V v[n];
  if constexpr (sizeof(V) > 16) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < half; ++i) {
      v[i] = load_halves<V>(x + i * x_row, x + (i + half) * x_row);
      v[i + half] = load_halves<V>(x + i * x_row + half, x + (i + half) * x_row + half);
    }
  } else {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < n; ++i) v[i] = Lanes<Bits>::load(x + i * x_row);
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < n; ++i) Rule::change(v[i]);
  if constexpr (sizeof(V) == 64) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      constexpr std::size_t s = n / 4;
      ((I & s ? void() : exchange<s>(v[I], v[(I | s) % n], std::make_index_sequence<n>{})), ...);
    }
    (std::make_index_sequence<n>{});
  }
  transpose_lanes(v);
#pragma GCC unroll 16
  for (std::size_t i = 0; i < n; ++i) Lanes<Bits>::store(v[i], y + i * y_row);
}

/// y[c, r] = x[r, c] for `rows` by `cols` words of as many bytes as `Bits`, each changed by `Rule`.
template <class Bits, class Rule = Unchanged>
void transpose(std::size_t rows, std::size_t cols, const void* from, std::size_t x_row, void* to, std::size_t y_row) {
  constexpr std::size_t n = Lanes<Bits>::count;
  const auto* x = static_cast<const Bits*>(from);
  auto* y = static_cast<Bits*>(to);
  const std::size_t whole_rows = rows / n * n, whole_cols = cols / n * n;
  for (std::size_t r = 0; r < whole_rows; r += n) {
    for (std::size_t c = 0; c < whole_cols; c += n)
      turn_square<Rule>(x + r * x_row + c, x_row, y + c * y_row + r, y_row);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c) {
      typedef Bits One __attribute__((vector_size(sizeof(Bits))));
      One v{x[r * x_row + c]};
      Rule::change(v);
      y[c * y_row + r] = v[0];
    }
  }
}

}  // namespace calm::kernel::detail
