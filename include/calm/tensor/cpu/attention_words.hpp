/// \file  The operands of attention's products as words (panels.hpp): numbers as they are, or in pairs of bf16.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/cast.hpp"  // store_row
#include "calm/tensor/cpu/lanes.hpp"
#include "calm/tensor/cpu/panels.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel::detail {

inline constexpr std::size_t key_block = 64;  // columns of a block of scores

/// Numbers in a word W: 2 of bf16, or 1.
template <class W>
inline constexpr std::size_t numbers_in = std::is_same_v<W, Pair> ? 2 : 1;
template <class W>
constexpr std::size_t words_of(std::size_t numbers) {
  return (numbers + numbers_in<W> - 1) / numbers_in<W>;
}
/// Columns of sums, in whole cache lines.
template <class A>
constexpr std::size_t padded(std::size_t columns) {
  constexpr std::size_t line = 64 / sizeof(A);
  return (columns + line - 1) / line * line;
}

/// Whether the processor rounds to bf16 by itself; it takes subnormal numbers for 0, as its products do.
inline bool rounds_pairs() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}
typedef float Floats __attribute__((vector_size(vector_bytes)));
typedef std::uint16_t Halves __attribute__((vector_size(vector_bytes)));
/// `low`, and `high` behind it, in bf16. Only where `rounds_pairs`.
[[gnu::always_inline]] inline Halves rounded([[maybe_unused]] const float* low, [[maybe_unused]] const float* high) {
  Halves both{};
#if defined(__AVX512F__)
  const Floats first = Lanes<float>::load(low), second = Lanes<float>::load(high);
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first), "v"(second));
#endif
  return both;
}
/// Their numbers in turn: words of one of each.
[[gnu::always_inline]] inline Halves in_turn(const Halves& both) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return __builtin_shufflevector(both, both, static_cast<int>(I / 2 + I % 2 * (sizeof...(I) / 2))...);
  }
  (std::make_index_sequence<vector_bytes / 2>{});
}

/// Rows of x as words along them: word (r, k) holds numbers k · numbers_in<W> of row r and on.   y: [rows, words]
/// Not inlined: where GCC 12 knows the width, it warns of a loop that never runs.
template <class W, class T>
[[gnu::noinline]] void pack_rows(std::size_t rows, std::size_t width, std::size_t stride, const T* x, W* y,
                                 std::size_t y_row) {
  constexpr std::size_t count = vector_bytes / sizeof(float);
  const bool quick = std::is_same_v<T, float> && std::is_same_v<W, Pair> && rounds_pairs();
  for (std::size_t r = 0; r < rows; ++r, x += stride, y += y_row) {
    if constexpr (std::is_same_v<W, Pair>) {
      auto* const numbers = reinterpret_cast<bf16*>(y);
      std::size_t c = 0;
      if constexpr (std::is_same_v<T, float>) {
        for (; quick && c + 2 * count <= width; c += 2 * count) {
          const Halves both = rounded(x + c, x + c + count);
          std::memcpy(static_cast<void*>(numbers + c), &both, sizeof(both));
        }
      }
      store_row(width - c, x + c, numbers + c);
      if (width % 2 == 1) numbers[width] = bf16{};
    } else {
      std::copy_n(x, width, y);
    }
  }
}

/// The same with columns of words across rows: word (k, c) holds number c of row k · numbers_in<W> and of those behind
/// it. Zeros where x has none.   y: [words_of<W>(rows), y_row]
template <class W, class T>
void pack_columns(std::size_t rows, std::size_t width, std::size_t stride, const T* x, W* y, std::size_t y_row) {
  constexpr std::size_t count = vector_bytes / sizeof(Pair);
  const bool quick = std::is_same_v<W, Pair> && (std::is_same_v<T, bf16> || rounds_pairs());
  for (std::size_t r = 0; r < rows; r += numbers_in<W>, x += numbers_in<W> * stride, y += y_row) {
    if constexpr (std::is_same_v<W, Pair>) {
      std::size_t c = 0;
      for (; quick && r + 1 < rows && c + count <= width; c += count) {
        Halves both;
        if constexpr (std::is_same_v<T, float>) {
          both = rounded(x + c, x + stride + c);
        } else {
          std::memcpy(&both, x + c, sizeof(both) / 2);
          std::memcpy(reinterpret_cast<std::byte*>(&both) + sizeof(both) / 2, x + stride + c, sizeof(both) / 2);
        }
        const Halves words = in_turn(both);
        std::memcpy(static_cast<void*>(y + c), &words, sizeof(words));
      }
      for (; c < width; ++c) y[c] = {bf16(x[c]), r + 1 < rows ? bf16(x[stride + c]) : bf16{}};
    } else {
      std::copy_n(x, width, y);
    }
    std::fill(y + width, y + y_row, W{});
  }
}

/// The words of at most `key_block` rows, turned: word (k, r) is word k of row r, zeros where there is no such row.
/// y: [words_of<W>(width), key_block]; room: [key_block, words_of<W>(width)]
template <class W, class T>
void pack_turned(std::size_t rows, std::size_t width, std::size_t stride, const T* x, W* y, W* room) {
  const std::size_t words = words_of<W>(width);
  if constexpr (std::is_same_v<T, W>) {
    transpose<BitsOf<W>>(rows, words, x, stride, y, key_block);
  } else {
    pack_rows(rows, width, stride, x, room, words);
    transpose<BitsOf<W>>(rows, words, room, words, y, key_block);
  }
  for (std::size_t k = 0; rows < key_block && k < words; ++k) {
    std::fill(y + k * key_block + rows, y + (k + 1) * key_block, W{});
  }
}

/// Makes row r of what `pack_columns` wrote zero.
template <class W>
void clear_row(std::size_t r, W* y, std::size_t y_row) {
  if constexpr (std::is_same_v<W, Pair>) {
    for (std::size_t c = 0; c < y_row; ++c)
      (r % 2 == 0 ? y[r / 2 * y_row + c].first : y[r / 2 * y_row + c].second) = bf16{};
  } else {
    std::fill_n(y + r * y_row, y_row, W{});
  }
}

/// Hands out pieces of one block of memory, each at a cache line; without memory, only counts what they take.
struct Pieces {
  std::byte* memory = nullptr;
  std::size_t used = 0;

  template <class X>
  X* of(std::size_t n) {
    auto* const at = memory ? reinterpret_cast<X*>(memory + used) : nullptr;
    used += (n * sizeof(X) + 63) / 64 * 64;
    return at;
  }
};

}  // namespace calm::kernel::detail
