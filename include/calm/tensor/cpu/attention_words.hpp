/// \file  The operands of attention's products as words (panels.hpp): numbers as they are, or in pairs of bf16.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/panels.hpp"
#include "calm/tensor/cpu/rows.hpp"
#include "calm/tensor/dtype.hpp"

#define CALM_KERNELS "calm/tensor/cpu/pack_kernels.hpp"
#include "calm/tensor/cpu/each_set.hpp"

namespace calm::kernel::detail {

template <class F>
void with_pack_kernels(const F& f) {
  with_instructions<native::Pack, avx2::Pack, avx512::Pack>(f);
}

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

/// Rows of x as words along them: word (r, k) holds numbers k · numbers_in<W> of row r and on.   y: [rows, words]
/// Not inlined: where GCC 12 knows the width, it warns of a loop that never runs.
template <class W, class T>
[[gnu::noinline]] void pack_rows(std::size_t rows, std::size_t width, std::size_t stride, const T* x, W* y,
                                 std::size_t y_row) {
  if constexpr (std::is_same_v<T, float> && std::is_same_v<W, Pair>) {
    return with_pack_kernels([=](auto pack) { pack.rows(rows, width, stride, x, y, y_row); });
  }
  for (std::size_t r = 0; r < rows; ++r, x += stride, y += y_row) {
    if constexpr (std::is_same_v<W, Pair>) {
      std::memcpy(static_cast<void*>(y), x, width * sizeof(T));
      if (width % 2 == 1) y[width / 2].second = bf16{};
    } else {
      std::copy_n(x, width, y);
    }
  }
}

/// The same with columns of words across rows: word (k, c) holds number c of row k · numbers_in<W> and of those behind
/// it. Zeros where x has none.   y: [words_of<W>(rows), y_row]
template <class W, class T>
void pack_columns(std::size_t rows, std::size_t width, std::size_t stride, const T* x, W* y, std::size_t y_row) {
  if constexpr (std::is_same_v<W, Pair>) {
    with_pack_kernels([=](auto pack) { pack.columns(rows, width, stride, x, y, y_row); });
  } else {
    for (std::size_t r = 0; r < rows; ++r, x += stride, y += y_row) {
      std::copy_n(x, width, y);
      std::fill(y + width, y + y_row, W{});
    }
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
