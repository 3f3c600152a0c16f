/// \file  Products with a weight that was packed once: it never changes, so no product packs it again.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>

#include "calm/tensor/cpu/blocked_product.hpp"
#include "calm/tensor/cpu/rope.hpp"

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

/// One of several products of the same x: y = x · Wᵀ (+ y if `add`); heads that turn do so while they are in the cache.
/// W: [out, in] packed in T, y: [rows, out]
template <class T>
struct PackedSide {
  const WordOf<T>* packed;
  std::size_t out;
  Accumulator<T>* y;
  bool add = false;
  HeadTurn<Accumulator<T>> turn = {};
};

namespace detail {

/// So few rows are multiplied as they are decoded: what a thread needs besides the weight stands on its stack.
constexpr bool are_few(std::size_t rows) { return rows == 1 || rows == 2; }
/// So many panels are worth a thread.
constexpr std::size_t few_rows_grain(std::size_t depth) {
  return 1 + (std::size_t{1} << 14) / (panel_width * depth + 1);
}

/// Columns of a side, which begin with a panel, for few rows, on this thread.
template <class T, class X>
void multiply_columns_of(const PackedSide<T>& side, std::size_t rows, std::size_t in, const X* x, Span cols) {
  using Word = WordOf<T>;
  alignas(64) Word block[2 * left_stride<Word>];
  product_part(fastest_product<Word>(), Span{0, rows}, cols, words_in<T>(in), LeftRows<T, X>{x, in, in},
               PackedPanels<T>{side.packed, in}, side.add, side.y, side.out, block, block);
}

/// Turns columns [begin, end) of rows [first, first + rows) of what a side made.
template <class T>
void turn_columns(const PackedSide<T>& s, std::size_t first, std::size_t rows, Span cols) {
  if (s.turn.table == nullptr) return;
  for (std::size_t r = first; r < first + rows; ++r) {
    Accumulator<T>* const y = s.y + r * s.out + cols.begin;
    turn_heads<Accumulator<T>>(s.turn, r, cols.end - cols.begin, false, false, y, y);
  }
}

/// f(side, columns) for each side that has some of panels [begin, end), which are counted through all sides. No head
/// that turns is cut.
template <class T, std::size_t N, class F>
void each_side(const std::array<PackedSide<T>, N>& sides, std::size_t begin, std::size_t end, const F& f) {
  std::size_t first = 0;
  for (const PackedSide<T>& s : sides) {
    const std::size_t last = first + panels_in(s.out);
    const std::size_t whole = s.turn.table ? std::lcm(panel_width, s.turn.width) : panel_width;
    const auto column = [&](std::size_t panel) {
      return panel >= last ? s.out : (std::max(panel, first) - first) * panel_width / whole * whole;
    };
    const Span cols{column(begin), column(end)};
    if (cols.begin < cols.end) f(s, cols);
    first = last;
  }
}

/// All of several sides for few rows, in one parallel loop, since to begin and end one takes as long as to read 50 KB.
template <class T, std::size_t N, class X>
void multiply_few_rows_packed(std::size_t rows, std::size_t in, const X* x, const std::array<PackedSide<T>, N>& sides) {
  std::size_t panels = 0;
  for (const PackedSide<T>& s : sides) panels += panels_in(s.out);
  // A loop lasts as long as its larger part: heads may be cut here.
  std::array<PackedSide<T>, N> unturned = sides;
  for (PackedSide<T>& s : unturned) s.turn = {};
  parallel_ranges(panels, few_rows_grain(words_in<T>(in)), [=](std::size_t begin, std::size_t end) {
    each_side(unturned, begin, end, [=](const PackedSide<T>& s, const Span& cols) {
      multiply_columns_of<T>(s, rows, in, x, cols);
    });
  });
  for (const PackedSide<T>& s : sides) turn_columns(s, 0, rows, {0, s.out});
}

}  // namespace detail

/// y = x · Wᵀ (+ y if `add`).   x: [rows, in], W: [out, in] packed in T, y: [rows, out]
///
/// With bf16, x is rounded to it unless it is in bf16 already, and the sums are kept in float. Processors with other
/// instructions round otherwise.
template <class T, class X>
void multiply_packed(Cpu, std::size_t rows, std::size_t out, std::size_t in, const X* x, const WordOf<T>* packed,
                     bool add, Accumulator<T>* y) {
  if (detail::are_few(rows) && in > 0)
    return detail::multiply_few_rows_packed(rows, in, x, std::array{PackedSide<T>{packed, out, y, add}});
  blocked_product(fastest_product<WordOf<T>>(), rows, out, words_in<T>(in), detail::LeftRows<T, X>{x, in, in},
                  detail::PackedPanels<T>{packed, in}, add, y, out);
}

namespace detail {

/// What one thread makes of several products of the same x: rows, and panels counted through all sides. `block`: memory
/// for rows of x, which are packed once for all.
template <class T, std::size_t N, class X>
void sides_part(PanelProduct<WordOf<T>, Accumulator<T>> multiply, Span rows, Span panels, std::size_t in, const X* x,
                const std::array<PackedSide<T>, N>& sides, WordOf<T>* block) {
  constexpr std::size_t most = block_depth<WordOf<T>>;
  const std::size_t depth = words_in<T>(in), step = equal_depth(depth, most);
  const std::size_t block_rows = equal_rows(rows.end - rows.begin, left_rows(step, most));
  for (std::size_t i = rows.begin; i < rows.end; i += block_rows) {
    const std::size_t there = std::min(block_rows, rows.end - i);
    for (std::size_t k = 0; k < depth; k += step) {
      LeftRows<T, X>{x, in, in}(i, there, k, std::min(step, depth - k), block);
      each_side(sides, panels.begin, panels.end, [&](const PackedSide<T>& s, const Span& cols) {
        block_columns(multiply, there, cols, k, depth, step, block, PackedPanels<T>{s.packed, in}, s.add,
                      s.y + i * s.out, s.out, block);
        if (k + step >= depth) turn_columns(s, i, there, cols);
      });
    }
  }
}

}  // namespace detail

/// `multiply_packed` and `rope` for each of several weights, to the bit, in one parallel loop.
template <class T, std::size_t N, class X>
void multiply_packed_each(Cpu device, std::size_t rows, std::size_t in, const X* x,
                          const std::array<PackedSide<T>, N>& sides) {
  using Word = WordOf<T>;
  if (rows == 0 || in == 0) {
    for (const PackedSide<T>& s : sides) {
      multiply_packed<T>(device, rows, s.out, in, x, s.packed, s.add, s.y);
      detail::turn_columns(s, 0, rows, {0, s.out});
    }
    return;
  }
  if (detail::are_few(rows)) return detail::multiply_few_rows_packed(rows, in, x, sides);
  std::size_t panels = 0;
  for (const PackedSide<T>& s : sides) panels += panels_in(s.out);
  const detail::Cut<Word, detail::PackedPanels<T>> cut(rows, panels * panel_width, words_in<T>(in));
  const Storage<Cpu> memory(cut.parts * cut.words * sizeof(Word));
  const auto multiply = fastest_product<Word>();
  cut.each_part(rows, panels, [&](std::size_t part, const detail::Span& r, const detail::Span& p) {
    detail::sides_part(multiply, r, p, in, x, sides, static_cast<Word*>(memory.data()) + part * cut.words);
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
