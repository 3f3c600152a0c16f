/// \file  The host's gated feed-forward layer with packed weights: all that is wide stands in memory some rows at a
/// time, and gate · x and up · x some columns.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/cpu/cast.hpp"
#include "calm/tensor/cpu/packed_gradient.hpp"
#include "calm/tensor/cpu/rows.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

/// The weights of down · (act(gate · x) * (up · x)), packed in T: gate and up [inner, width], down [width, inner].
template <class T>
struct PackedMlp {
  Activation kind;
  std::size_t width, inner;
  const WordOf<T>*gate, *up, *down;
};

namespace detail {

/// Rows at a time: what stands between two products stays in the last cache, and each weight is still read seldom.
inline constexpr std::size_t mlp_rows = 1024;

/// gated = act(gate · x) * (up · x) for a few rows: each thread gates what it has multiplied.   all: [rows, inner]
template <class T>
void gate_few_rows(const PackedMlp<T>& w, std::size_t rows, const Accumulator<T>* x, Accumulator<T>* gate,
                   Accumulator<T>* up, T* gate_kept, T* up_kept, T* gated) {
  const std::size_t panels = panels_in(w.inner), grain = few_rows_grain(2 * words_in<T>(w.width));
  parallel_ranges(panels, grain, [=](std::size_t begin, std::size_t end) {
    const std::size_t first = begin * panel_width, last = std::min(end * panel_width, w.inner), count = last - first;
    multiply_columns_of<T>({w.gate, w.inner, gate}, rows, w.width, x, {first, last});
    multiply_columns_of<T>({w.up, w.inner, up}, rows, w.width, x, {first, last});
    with_row_kernels([&](auto set) {
      for (std::size_t at = first; at < rows * w.inner; at += w.inner) {
        set.template gate<Accumulator<T>>(w.kind, count, gate + at, up + at, behind(gate_kept, at), behind(up_kept, at),
                                          gated + at);
      }
    });
  });
}

/// How a thread makes gated rows: it packs so many of x over their whole depth, and multiplies and gates `columns` of
/// them at a time, in sums that stay in the second cache.
template <class T>
struct GatedBlock {
  static_assert(sizeof(WordOf<T>) == sizeof(Accumulator<T>));
  static constexpr std::size_t columns = 2 * panel_width, deepest = block_depth<WordOf<T>>;
  std::size_t depth, step, rows, left, words;  // `left` words of memory for each step

  /// Of `all` rows, of which a thread makes up to `own`. Fewer rows never take more words, as in `Cut`.
  GatedBlock(std::size_t width, std::size_t all, std::size_t own)
      : depth(words_in<T>(width)), step(equal_depth(depth, deepest)) {
    const std::size_t steps = (depth + step - 1) / step, tiles = left_rows(step, deepest) / steps / rows_behind;
    const std::size_t most = std::max<std::size_t>(1, tiles) * rows_behind,
                      room = std::min(most, all > most ? all : own);
    rows = equal_rows(own, most);
    left = (room + rows_behind) * left_stride<WordOf<T>>;
    words = steps * left + 2 * (room + rows_behind) * columns;
  }
};

/// gated = act(gate · x) * (up · x), rows and columns of one thread.   memory: block.words
template <class T>
void gated_part(const PackedMlp<T>& w, const GatedBlock<T>& block, Span rows, Span cols, const Accumulator<T>* x,
                T* gate_kept, T* up_kept, T* gated, WordOf<T>* memory) {
  using A = Accumulator<T>;
  constexpr std::size_t columns = GatedBlock<T>::columns;
  const auto multiply = fastest_product<WordOf<T>>();
  A* const up = reinterpret_cast<A*>(memory + block.words) - block.rows * columns;
  A* const gate = up - block.rows * columns;
  for (std::size_t i = rows.begin; i < rows.end; i += block.rows) {
    const std::size_t n = std::min(block.rows, rows.end - i);
    for (std::size_t k = 0; k < block.depth; k += block.step)
      LeftRows<T, A>{x, w.width, w.width}(i, n, k, std::min(block.step, block.depth - k),
                                          memory + k / block.step * block.left);
    for (std::size_t j = cols.begin; j < cols.end; j += columns) {
      const std::size_t there = std::min(columns, cols.end - j);
      // Meanwhile the other weight's columns from `next` on are fetched.
      const auto product = [&](const WordOf<T>* weight, A* to, const WordOf<T>* other, std::size_t next) {
        const PackedPanels<T> right{weight, w.width}, behind{other, w.width};
        const std::size_t end = std::min(next + columns, cols.end);
        for (std::size_t k = 0; k < block.depth; k += block.step) {
          const std::size_t d = std::min(block.step, block.depth - k);
          const NextRead reads = next < end ? behind.reads(next, end, k, d) : NextRead{};
          multiply(n, there, d, memory + k / block.step * block.left, right.panels(j, j + there, k, d, nullptr, 0), to,
                   columns, k > 0, reads);
        }
      };
      product(w.gate, gate, w.up, j);
      product(w.up, up, w.gate, j + there);
      with_row_kernels([&](auto set) {
        for (std::size_t r = 0; r < n; ++r) {
          const std::size_t from = r * columns, to = (i + r) * w.inner + j;
          set.template gate<A>(w.kind, there, gate + from, up + from, behind(gate_kept, to), behind(up_kept, to),
                               gated + to);
        }
      });
    }
  }
}

/// gated = act(gate · x) * (up · x).   gated and what is kept: [rows, inner]
template <class T>
void gate_rows_of(const PackedMlp<T>& w, std::size_t rows, const Accumulator<T>* x, T* gate_kept, T* up_kept,
                  T* gated) {
  using A = Accumulator<T>;
  if (are_few(rows)) {
    const Storage<Cpu> wide(2 * rows * w.inner * sizeof(A));
    A* const gate = static_cast<A*>(wide.data());
    return gate_few_rows(w, rows, x, gate, gate + rows * w.inner, gate_kept, up_kept, gated);
  }
  const Cut<WordOf<T>, PackedPanels<T>> cut(rows, w.inner, words_in<T>(w.width));
  const GatedBlock<T> block(w.width, rows, (rows + cut.grid.rows - 1) / cut.grid.rows);
  const Storage<Cpu> memory(cut.parts * block.words * sizeof(WordOf<T>));
  cut.each_part(rows, panels_in(w.inner), [&](std::size_t part, const Span& own, const Span& panels) {
    const Span cols{panels.begin * panel_width, std::min(w.inner, panels.end * panel_width)};
    gated_part(w, block, own, cols, x, gate_kept, up_kept, gated,
               static_cast<WordOf<T>*>(memory.data()) + part * block.words);
  });
}

}  // namespace detail

/// y = down · (act(gate · x) * (up · x)), as products of whole matrices make it, to the bit. `gate_kept` and `up_kept`
/// (both, or null) take gate · x and up · x, which the backward pass reads.
///
/// x, y: [rows, width], kept: [rows, inner]
template <class T>
void packed_mlp(Cpu device, const PackedMlp<T>& w, std::size_t rows, const Accumulator<T>* x, T* gate_kept, T* up_kept,
                Accumulator<T>* y) {
  const std::size_t most = std::min(rows, detail::mlp_rows);
  const Storage<Cpu> narrow(most * w.inner * sizeof(T));
  T* const gated = static_cast<T*>(narrow.data());
  for (std::size_t r = 0; r < rows; r += most) {
    const std::size_t n = std::min(most, rows - r), at = r * w.inner;
    detail::gate_rows_of(w, n, x + r * w.width, detail::behind(gate_kept, at), detail::behind(up_kept, at), gated);
    multiply_packed<T>(device, n, w.width, w.inner, gated, w.down, false, y + r * w.width);
  }
}

/// dx = the gradient of x for that of y (+ dx if `add`), from what the forward pass kept.
///
/// dy, dx: [rows, width], gate, up: [rows, inner]
template <class T>
void packed_mlp_backward(Cpu device, const PackedMlp<T>& w, std::size_t rows, const T* gate, const T* up,
                         const Accumulator<T>* dy, bool add, Accumulator<T>* dx) {
  using A = Accumulator<T>;
  constexpr bool same = std::is_same_v<T, A>;
  const std::size_t most = std::min(rows, detail::mlp_rows) * w.inner;
  const Storage<Cpu> wide(most * sizeof(A)), narrow((same ? 1 : 2) * most * sizeof(T));
  A* const dgated = static_cast<A*>(wide.data());
  T* const dup = static_cast<T*>(narrow.data());
  T* const dgate = same ? static_cast<T*>(wide.data()) : dup + most;
  for (std::size_t r = 0; r < rows; r += detail::mlp_rows) {
    const std::size_t n = std::min(detail::mlp_rows, rows - r), at = r * w.inner;
    multiply_packed_transposed<T>(device, n, w.width, w.inner, dy + r * w.width, w.down, false, dgated);
    detail::gate_rows_backward<A>(w.kind, n * w.inner, gate + at, up + at, dgated, false, dgate, dup);
    using Side = PackedGradient<T, T>;
    multiply_packed_transposed_each<T, T>(device, n, w.width, std::array{Side{w.gate, w.inner, dgate},
                                          Side{w.up, w.inner, dup}}, add, dx + r * w.width);
  }
}

}  // namespace calm::kernel
