/// \file  Products with a weight that was packed once: it never changes, so no product packs it again.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "calm/tensor/cpu/blocked_product.hpp"

namespace calm::kernel {

namespace detail {

/// Rows of numbers that become words as they are packed.
template <class T, class X>
struct LeftRows {
  const X* x;
  std::size_t row, width;

  void operator()(std::size_t first, std::size_t rows, std::size_t k, std::size_t depth, WordOf<T>* to) const {
    for (std::size_t r = 0; r < rows; ++r) {
      if (r + 2 < rows) prefetch_row(x + (first + r + 2) * row + k * numbers_in_word<T>, depth * sizeof(WordOf<T>));
      pack_row<T>(width, k * numbers_in_word<T>, depth, 1, x + (first + r) * row, to + r * left_stride<WordOf<T>>);
    }
  }
};

/// A packed weight as the right side of x · Wᵀ: there already.
template <class T>
struct PackedPanels {
  static constexpr bool made = false;
  static constexpr std::size_t columns = 128, depth = block_depth<WordOf<T>>;
  const WordOf<T>* packed;
  std::size_t in;

  const WordOf<T>* at(std::size_t column, std::size_t k) const {
    return packed + (column / panel_width * words_in<T>(in) + k) * panel_width;
  }
  PanelList<WordOf<T>> panels(std::size_t begin, std::size_t, std::size_t k, std::size_t, WordOf<T>*,
                              std::size_t) const {
    return {at(begin, k), words_in<T>(in) * panel_width};
  }
  NextRead reads(std::size_t begin, std::size_t end, std::size_t k, std::size_t words) const {
    constexpr std::size_t row = panel_width * sizeof(WordOf<T>);
    return {at(begin, k), words * row, words_in<T>(in) * row, panels_in(end - begin)};
  }
};

/// The same as the right side of dy · W: turned square by square.
template <class T>
struct TurnedPanels {
  static constexpr bool made = true;
  static constexpr std::size_t columns = 64, depth = block_depth<WordOf<T>>;
  const WordOf<T>* packed;
  std::size_t in;

  PanelList<WordOf<T>> panels(std::size_t begin, std::size_t end, std::size_t k, std::size_t words, WordOf<T>* to,
                              std::size_t stride) const {
    constexpr std::size_t n = numbers_in_word<T>;
    turn_panels<T>(in, begin, end, k * n, (words * n + panel_width - 1) / panel_width, packed, to, stride);
    return {to, stride};
  }
  NextRead reads(std::size_t begin, std::size_t end, std::size_t k, std::size_t words) const {
    constexpr std::size_t n = numbers_in_word<T>, row = panel_width * sizeof(WordOf<T>);
    const std::size_t first = k * n / panel_width, panel = words_in<T>(in) * panel_width;
    return {packed + first * panel + begin / n * panel_width, words_in<T>(end - begin) * row, panel * sizeof(WordOf<T>),
            panels_in(words * n)};
  }
};
static_assert(block_depth<float> % panel_width == 0 && block_depth<double> % panel_width == 0, "squares are whole");

}  // namespace detail

/// y = x · Wᵀ (+ y if `add`).   x: [rows, in], W: [out, in] packed in T, y: [rows, out]
///
/// With bf16, x is rounded to it unless it is in bf16 already, and the sums are kept in float. Processors with other
/// instructions round otherwise.
template <class T, class X>
void multiply_packed(Cpu, std::size_t rows, std::size_t out, std::size_t in, const X* x, const WordOf<T>* packed,
                     bool add, Accumulator<T>* y) {
  blocked_product(fastest_product<WordOf<T>>(), rows, out, words_in<T>(in), detail::LeftRows<T, X>{x, in, in},
                  detail::PackedPanels<T>{packed, in}, add, y, out);
}

/// One of several products of the same x: y = x · Wᵀ.   W: [out, in] packed in T, y: [rows, out]
template <class T>
struct PackedSide {
  const WordOf<T>* packed;
  std::size_t out;
  Accumulator<T>* y;
};

/// `multiply_packed` for each of several weights, to the bit. A row or two are multiplied with all in one parallel
/// loop, since to begin and end one takes as long as to read 50 KB.
template <class T, std::size_t N, class X>
void multiply_packed_each(Cpu device, std::size_t rows, std::size_t in, const X* x,
                          const std::array<PackedSide<T>, N>& sides) {
  using Word = WordOf<T>;
  if (rows == 0 || rows > 2) {
    for (const PackedSide<T>& s : sides) multiply_packed<T>(device, rows, s.out, in, x, s.packed, false, s.y);
    return;
  }
  std::size_t panels = 0;
  for (const PackedSide<T>& s : sides) panels += panels_in(s.out);
  const std::size_t depth = words_in<T>(in), grain = 1 + (std::size_t{1} << 14) / (panel_width * depth + 1);
  constexpr std::size_t words = (2 + detail::rows_behind) * left_stride<Word>;
  const Storage<Cpu> memory(parts_of(panels, grain) * words * sizeof(Word));
  const auto multiply = fastest_product<Word>();
  parallel_ranges(panels, grain, [&](std::size_t part, std::size_t begin, std::size_t end) {
    Word* const block = static_cast<Word*>(memory.data()) + part * words;
    std::size_t first = 0;  // panel of the side
    for (const PackedSide<T>& s : sides) {
      const std::size_t last = first + panels_in(s.out);
      if (begin < last && end > first) {
        const detail::Span cols{(std::max(begin, first) - first) * panel_width,
                                std::min((std::min(end, last) - first) * panel_width, s.out)};
        detail::product_part(multiply, detail::Span{0, rows}, cols, depth, detail::LeftRows<T, X>{x, in, in},
                             detail::PackedPanels<T>{s.packed, in}, false, s.y, s.out, block, block);
      }
      first = last;
    }
  });
}

/// dx = dy · W (+ dx if `add`).   dy: [rows, out], W: [out, in] packed in T, dx: [rows, in]
template <class T, class X>
void multiply_packed_transposed(Cpu, std::size_t rows, std::size_t out, std::size_t in, const X* dy,
                                const WordOf<T>* packed, bool add, Accumulator<T>* dx) {
  blocked_product(fastest_product<WordOf<T>>(), rows, in, words_in<T>(out), detail::LeftRows<T, X>{dy, out, out},
                  detail::TurnedPanels<T>{packed, in}, add, dx, in);
}

}  // namespace calm::kernel
