/// \file  What several packed products of one x give back to it, as one product: [dy₁ dy₂ …] · [W₁; W₂; …].
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include "calm/tensor/cpu/packed.hpp"

namespace calm::kernel {

/// One of these products.   W: [out, in] packed in T, dy: [rows, out], its heads turned back first if they turned
template <class T, class X>
struct PackedGradient {
  const WordOf<T>* packed;
  std::size_t out;
  const X* dy;
  HeadTurn<Accumulator<T>> turn = {};
};

namespace detail {

/// Heads that turn back as they are packed are no wider than this.
inline constexpr std::size_t widest_turned = 512;

/// Words of the depth that a side takes: whole squares, as panels are turned, zeros behind the last output.
template <class T>
constexpr std::size_t square_words(std::size_t out) {
  return panels_in(out) * panel_width / numbers_in_word<T>;
}

/// f(side, k, depth, at) for each side that has some of words [k, k + depth): these, counted from its own, and where
/// they stand among all.
template <class T, class X, class F>
void each_side_of_depth(std::span<const PackedGradient<T, X>> sides, std::size_t k, std::size_t depth, const F& f) {
  std::size_t first = 0;
  for (const PackedGradient<T, X>& s : sides) {
    const std::size_t last = first + square_words<T>(s.out);
    const std::size_t from = std::max(k, first), to = std::min(k + depth, last);
    if (from < to) f(s, from - first, to - from, from - k);
    first = last;
  }
}

/// The gradients side by side as a left side.
template <class T, class X>
struct JoinedRows {
  std::span<const PackedGradient<T, X>> sides;

  void operator()(std::size_t first, std::size_t rows, std::size_t k, std::size_t depth, WordOf<T>* to) const {
    each_side_of_depth(sides, k, depth,
                       [=](const PackedGradient<T, X>& s, std::size_t own, std::size_t d, std::size_t at) {
                         if constexpr (std::is_same_v<X, Accumulator<T>>) {
                           if (s.turn.table) return pack_turned_back(s, first, rows, own, d, to + at);
                         }
                         LeftRows<T, X>{s.dy, s.out, s.out}(first, rows, own, d, to + at);
                       });
  }

 private:
  static void pack_turned_back(const PackedGradient<T, X>& s, std::size_t first, std::size_t rows, std::size_t k,
                               std::size_t depth, WordOf<T>* to) {
    constexpr std::size_t n = numbers_in_word<T>;
    X heads[n * block_depth<WordOf<T>> + 2 * widest_turned];
    const std::size_t w = s.turn.width, from = n * k / w * w, end = std::min(s.out, (n * (k + depth) + w - 1) / w * w);
    for (std::size_t r = 0; r < rows; ++r) {
      const X* const row = s.dy + (first + r) * s.out + from;
      if (r + 2 < rows) prefetch_row(row + 2 * s.out, (end - from) * sizeof(X));
      turn_heads<X>(s.turn, first + r, end - from, true, false, row, heads);
      pack_row<T>(end - from, n * k - from, depth, 1, heads, to + r * left_stride<WordOf<T>>);
    }
  }
};

/// The weights one below the other as a right side.
template <class T, class X>
struct JoinedPanels {
  static constexpr bool made = true;
  static constexpr std::size_t columns = 64, depth = block_depth<WordOf<T>>;
  std::span<const PackedGradient<T, X>> sides;
  std::size_t in;

  PanelList<WordOf<T>> panels(std::size_t begin, std::size_t end, std::size_t k, std::size_t words, WordOf<T>* to,
                              std::size_t stride) const {
    each_side_of_depth(sides, k, words,
                       [=, this](const PackedGradient<T, X>& s, std::size_t own, std::size_t d, std::size_t at) {
                         TurnedPanels<T>{s.packed, in}.panels(begin, end, own, d, to + at * panel_width, stride);
                       });
    return {to, stride};
  }
  NextRead reads(std::size_t, std::size_t, std::size_t, std::size_t) const { return {}; }
};

}  // namespace detail

/// dx = Σ dy · W over all sides (+ dx if `add`).   dx: [rows, in]
template <class T, class X>
void multiply_packed_transposed_each(Cpu, std::size_t rows, std::size_t in, std::span<const PackedGradient<T, X>> sides,
                                     bool add, Accumulator<T>* dx) {
  std::size_t depth = 0;
  for (const auto& s : sides) depth += detail::square_words<T>(s.out);
  blocked_product(fastest_product<WordOf<T>>(), rows, in, depth, detail::JoinedRows<T, X>{sides},
                  detail::JoinedPanels<T, X>{sides, in}, add, dx, in);
}

}  // namespace calm::kernel
