/// \file  The layouts in which products read their operands, and the ways there.
///
/// A product is made of words: a float, a double, or two neighbours of a row in bf16, which one instruction multiplies
/// and adds up. A panel is `panel_width` columns of the right side, word row behind word row; a weight
/// W: [out, in] as the right side of x · Wᵀ is the list of its panels, each `panel_width` outputs and the whole depth:
/// word (o, k) stands at ((o / width) · depth + k) · width + o mod width.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/cast.hpp"  // store_row
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/cpu/tiles.hpp"
#include "calm/tensor/cpu/transpose.hpp"

namespace calm::kernel {

/// What products of numbers of type T are made of.
template <class T>
using WordOf = std::conditional_t<std::is_same_v<T, bf16>, Pair, T>;
template <class T>
inline constexpr std::size_t numbers_in_word = sizeof(WordOf<T>) / sizeof(T);
/// A depth in words.
template <class T>
constexpr std::size_t words_in(std::size_t numbers) {
  return (numbers + numbers_in_word<T> - 1) / numbers_in_word<T>;
}
constexpr std::size_t panels_in(std::size_t columns) { return (columns + panel_width - 1) / panel_width; }
/// How many words a packed weight takes; those of outputs that it lacks are zeros.
template <class T>
constexpr std::size_t packed_words(std::size_t out, std::size_t in) {
  return panels_in(out) * panel_width * words_in<T>(in);
}

namespace detail {

/// Rows of a matrix lie apart: the processor does not foresee where the next one begins.
inline void prefetch_row(const void* from, std::size_t bytes) {
  for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(static_cast<const char*>(from) + b);
}

/// Numbers [first, first + depth words) of a row of `n` as words; zeros behind its end. They are of type T already, or
/// float that is rounded to it; then T is bf16. Only numbers that are not rounded are multiplied by `alpha`.
template <class T, class X>
void pack_row(std::size_t n, std::size_t first, std::size_t depth, Accumulator<T> alpha, const X* row, WordOf<T>* to) {
  const std::size_t there = std::min(n - first, depth * numbers_in_word<T>);
  auto* numbers = reinterpret_cast<T*>(to);
  if constexpr (std::is_same_v<T, bf16>) {
    store_row(there, row + first, numbers);
  } else if (alpha == 1) {
    std::copy_n(row + first, there, numbers);
  } else {
    for (std::size_t i = 0; i < there; ++i) numbers[i] = alpha * row[first + i];
  }
  std::fill(numbers + there, numbers + depth * numbers_in_word<T>, T{});
}

template <class Word>
using BitsOf = std::conditional_t<sizeof(Word) == 4, std::uint32_t, std::uint64_t>;

}  // namespace detail

/// W: [out, in], `stride` from row to row, as panels.   to: packed_words(out, in)
template <class T>
void pack_weight(Cpu, std::size_t out, std::size_t in, const Accumulator<T>* w, std::size_t stride, WordOf<T>* to) {
  using Word = WordOf<T>;
  constexpr std::size_t piece = 64;  // words of a row at a time
  const std::size_t depth = words_in<T>(in);
  parallel_ranges(
      panels_in(out), 1 + (std::size_t{1} << 14) / (panel_width * depth + 1), [=](std::size_t begin, std::size_t end) {
        Word rows[panel_width * piece];
        for (std::size_t p = begin; p < end; ++p) {
          const std::size_t first = p * panel_width, there = std::min(panel_width, out - first);
          for (std::size_t k = 0; k < depth; k += piece) {
            const std::size_t n = std::min(piece, depth - k);
            if (there < panel_width) std::fill(rows, rows + panel_width * piece, Word{});
            for (std::size_t r = 0; r < there; ++r) {
              detail::pack_row<T>(in, k * numbers_in_word<T>, n, 1, w + (first + r) * stride, rows + r * piece);
            }
            detail::transpose<detail::BitsOf<Word>>(panel_width, n, rows, piece, to + (p * depth + k) * panel_width,
                                                    panel_width);
          }
        }
      });
}

/// Row `o` of a packed weight of depth `in`.
template <class T>
void unpack_row(std::size_t in, std::size_t o, const WordOf<T>* packed, Accumulator<T>* to) {
  const WordOf<T>* from = packed + o / panel_width * words_in<T>(in) * panel_width + o % panel_width;
  for (std::size_t k = 0; k < in; ++k) {
    const auto* numbers = reinterpret_cast<const T*>(from + k / numbers_in_word<T> * panel_width);
    to[k] = static_cast<Accumulator<T>>(numbers[k % numbers_in_word<T>]);
  }
}

/// y[i] = row tokens[i] of a packed weight of depth `in`.   y: [n, in]
template <class T>
void unpack_rows(Cpu, std::size_t n, std::size_t in, const Index* tokens, const WordOf<T>* packed, Accumulator<T>* y) {
  parallel_ranges(n, 64, [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i)
      unpack_row<T>(in, static_cast<std::size_t>(tokens[i]), packed, y + i * in);
  });
}

/// The panels of dy · W for input columns [begin, end) and outputs [first, first + a multiple of panel_width), from the
/// packed W: [.., in]; from panel to panel `stride` words. Both layouts are made of the same squares, which lie in one
/// piece in each.
template <class T>
void turn_panels(std::size_t in, std::size_t begin, std::size_t end, std::size_t first, std::size_t panels,
                 const WordOf<T>* packed, WordOf<T>* to, std::size_t stride) {
  constexpr std::size_t n = numbers_in_word<T>, side = panel_width / n, square = panel_width * side;
  const std::size_t depth = words_in<T>(in);
  for (std::size_t p = 0; p < panels; ++p) {
    const WordOf<T>* row = packed + (first / panel_width + p) * depth * panel_width;
    for (std::size_t column = begin; column < end; column += panel_width) {
      const std::size_t k = column / n, there = std::min(side, depth - k);
      const WordOf<T>* x = row + k * panel_width;
      WordOf<T>* y = to + (column - begin) / panel_width * stride + p * square;
      if (there < side) std::fill_n(y, square, WordOf<T>{});
      if constexpr (n == 2)
        detail::transpose<std::uint64_t, detail::SwapPairs>(there, side, x, side, y, side);
      else
        detail::transpose<detail::BitsOf<WordOf<T>>>(there, side, x, side, y, side);
    }
  }
}

}  // namespace calm::kernel
