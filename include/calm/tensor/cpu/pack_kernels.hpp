/// \file  Attention's operands as pairs of bf16, a register at a time. `attention_words.hpp` has this included once for
/// each instruction set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/attention_words.hpp"
#else

namespace calm::kernel::CALM_SET {

/// A register of pairs: of numbers of one row and of those beside them in the next.   T: float or bf16
template <class T>
[[gnu::always_inline]] inline Bits pairs_of(const T* row, const T* next) {
  if constexpr (std::is_same_v<T, bf16>) {
    HalfBits low, high;
    std::memcpy(&low, row, sizeof(low));
    std::memcpy(&high, next, sizeof(high));
    return __builtin_convertvector(low, Bits) | (__builtin_convertvector(high, Bits) << 16);
  } else {
    return (rounded_bits((Bits)Register<float>::load(row)) >> 16) |
           (rounded_bits((Bits)Register<float>::load(next)) & 0xffff0000u);
  }
}

#if CALM_SET_BYTES == 64
typedef std::uint16_t Halves __attribute__((vector_size(register_bytes)));
/// `low`, and `high` behind it, rounded to bf16 by AVX512_BF16, which takes subnormal numbers for 0, as its products
/// do.
[[gnu::always_inline]] inline Halves rounded(const float* low, const float* high) {
  Halves both;
  const RegisterOf<float> first = Register<float>::load(low), second = Register<float>::load(high);
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first), "v"(second));
  return both;
}
/// Their numbers in turn: words of one of each.
template <std::size_t... I>
[[gnu::always_inline]] inline Halves in_turn(const Halves& both, std::index_sequence<I...>) {
  return __builtin_shufflevector(both, both, static_cast<int>(I / 2 + I % 2 * (sizeof...(I) / 2))...);
}
#endif

struct Pack {
  /// y = x in bf16, row by row; zeros behind an odd width.
  static void rows(std::size_t rows, std::size_t width, std::size_t stride, const float* x, Pair* y,
                   std::size_t y_row) {
    constexpr std::size_t count = Register<float>::count;
    for (std::size_t r = 0; r < rows; ++r, x += stride, y += y_row) {
      auto* const to = reinterpret_cast<bf16*>(y);
      std::size_t c = 0;
#if CALM_SET_BYTES == 64
      for (; instructions() == Instructions::bf16 && c + 2 * count <= width; c += 2 * count) {
        const Halves both = rounded(x + c, x + c + count);
        std::memcpy(static_cast<void*>(to + c), &both, sizeof(both));
      }
#endif
      for (; c + count <= width; c += count) store_as<float>(Register<float>::load(x + c), to + c);
      for (; c < width; ++c) to[c] = bf16(x[c]);
      if (width % 2 == 1) to[width] = bf16{};
    }
  }

  /// y = pairs of the numbers of a row and those of the next.
  template <class T>
  static void pairs(std::size_t width, const T* row, const T* next, Pair* y) {
    constexpr std::size_t count = Register<float>::count;
    std::size_t c = 0;
#if CALM_SET_BYTES == 64
    if constexpr (std::is_same_v<T, float>) {
      for (; instructions() == Instructions::bf16 && c + count <= width; c += count) {
        const Halves words = in_turn(rounded(row + c, next + c), std::make_index_sequence<register_bytes / 2>{});
        std::memcpy(static_cast<void*>(y + c), &words, sizeof(words));
      }
    }
#endif
    for (; c + count <= width; c += count) {
      const Bits words = pairs_of(row + c, next + c);
      std::memcpy(static_cast<void*>(y + c), &words, sizeof(words));
    }
    for (; c < width; ++c) y[c] = {bf16(row[c]), bf16(next[c])};
  }

  /// `pairs` of so many rows, two by two; those of the last beside zeros, where it is alone, and zeros up to y_row.
  template <class T>
  static void columns(std::size_t rows, std::size_t width, std::size_t stride, const T* x, Pair* y, std::size_t y_row) {
    for (std::size_t r = 0; r < rows; r += 2, x += 2 * stride, y += y_row) {
      if (r + 1 < rows) {
        pairs(width, x, x + stride, y);
      } else {
        for (std::size_t c = 0; c < width; ++c) y[c] = {bf16(x[c]), bf16{}};
      }
      for (std::size_t c = width; c < y_row; ++c) y[c] = {};
    }
  }
};

}  // namespace calm::kernel::CALM_SET

#endif
