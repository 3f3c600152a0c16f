/// \file  Products cut into blocks that lie in the caches, and into parts for threads (Goto and van de Geijn 2008).
///
/// A number of the result is one sum over the whole depth in its order, however the rest is cut: its bits do not depend
/// on the number of threads, nor on the rows and columns beside it.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/panels.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

/// How threads share a product: so many ranges of rows, each of so many ranges of panels.
struct Grid {
  std::size_t rows = 1, columns = 1;
};

/// The grid in which least is packed or read more than once, for as many threads as the work is worth: some
/// microseconds each, a row and a tenth of a microsecond's reading being worth the same.
inline Grid grid_of(std::size_t m, std::size_t n, std::size_t depth, bool packed) {
  const std::size_t work = std::max<std::size_t>(m, 32) * n * depth;
  const std::size_t panels = panels_in(n), right = packed ? n / 4 : n;
  for (std::size_t parts = parts_of(work, std::size_t{1} << 19); parts > 1; --parts) {
    Grid best{0, 0};
    for (std::size_t r = 1; r <= parts; ++r) {
      const Grid grid{r, parts / r};
      if (r * grid.columns != parts || grid.columns > panels || 4 * (r - 1) >= m) continue;
      const auto cost = [&](const Grid& g) { return g.columns * m + g.rows * right; };
      if (best.rows == 0 || cost(grid) < cost(best)) best = grid;
    }
    if (best.rows > 0) return best;
  }
  return {};
}

namespace detail {

inline constexpr std::size_t rows_behind = 12;  // of anything, which a tile reads and does not use

struct Span {
  std::size_t begin, end;
};

/// `depth` cut into as few equal blocks as there must be, but for whole squares of `panel_width` words.
inline std::size_t equal_depth(std::size_t depth, std::size_t most) {
  const std::size_t blocks = (depth + most - 1) / most;
  return std::min(most, ((depth + blocks - 1) / blocks + panel_width - 1) / panel_width * panel_width);
}

/// Rows of a block of the left side of such a depth: some 500 KB, for the second cache. Rows lie equally far apart
/// however short they are, so of short ones there are fewer.
inline std::size_t left_rows(std::size_t depth, std::size_t most) { return 2 * depth <= most ? 96 : 192; }

/// `rows` cut likewise, but for whole tiles: a block of a few rows would read as much of the right side as a full one.
inline std::size_t equal_rows(std::size_t rows, std::size_t most) {
  const std::size_t blocks = (rows + most - 1) / most;
  return std::min(most, ((rows + blocks - 1) / blocks + rows_behind - 1) / rows_behind * rows_behind);
}

/// Words from one made panel to the next. Without the room between them, panels of 576 words were 3 % slower.
constexpr std::size_t made_stride(std::size_t depth) { return (depth + 64) * panel_width; }

/// The columns of c that a packed block of the left side gives at [k, k + d) of the depth, which is read in steps.
/// `made`: memory for panels.
template <class Word, class Sum, class Right>
void block_columns(PanelProduct<Word, Sum> multiply, std::size_t rows, Span cols, std::size_t k, std::size_t depth,
                   std::size_t step, const Word* block, const Right& right, bool add, Sum* c, std::size_t c_row,
                   Word* made) {
  const std::size_t d = std::min(step, depth - k);
  for (std::size_t j = cols.begin, end; j < cols.end; j = end) {
    end = std::min(cols.end, j + Right::columns);
    const PanelList<Word> panels = right.panels(j, end, k, d, made, made_stride(step));
    NextRead next;
    const auto reads = [&](std::size_t first, std::size_t at) {
      return right.reads(first, std::min(cols.end, first + Right::columns), at, std::min(step, depth - at));
    };
    if (end < cols.end)
      next = reads(end, k);
    else if (k + d < depth)
      next = reads(cols.begin, k + d);
    multiply(rows, end - j, d, block, panels, c + j, c_row, add || k > 0, next);
  }
}

/// The rows and columns of c that one thread makes. `block` and `made`: memory for the left block and for panels.
template <class Word, class Sum, class Left, class Right>
void product_part(PanelProduct<Word, Sum> multiply, Span rows, Span cols, std::size_t depth, const Left& left,
                  const Right& right, bool add, Sum* c, std::size_t c_row, Word* block, Word* made) {
  const std::size_t step = equal_depth(depth, Right::depth);
  const std::size_t block_rows = equal_rows(rows.end - rows.begin, left_rows(step, Right::depth));
  for (std::size_t i = rows.begin; i < rows.end; i += block_rows) {
    const std::size_t there = std::min(block_rows, rows.end - i);
    for (std::size_t k = 0; k < depth; k += step) {
      left(i, there, k, std::min(step, depth - k), block);
      block_columns(multiply, there, cols, k, depth, step, block, right, add, c + i * c_row, c_row, made);
    }
  }
}

/// How a product is cut, and how many words a part works in: `left` ones for its left block, and panels behind them. A
/// product of fewer rows never works in more, so that memory that was enough once is enough.
template <class Word, class Right>
struct Cut {
  Grid grid;
  std::size_t parts, left, words;

  Cut(std::size_t m, std::size_t n, std::size_t depth) : grid(grid_of(m, n, depth, !Right::made)) {
    parts = grid.rows * grid.columns;
    const std::size_t step = equal_depth(depth, Right::depth), most = left_rows(step, Right::depth);
    left = (std::min(most, m > most ? m : (m + grid.rows - 1) / grid.rows) + rows_behind) * left_stride<Word>;
    const std::size_t columns = std::min(Right::columns, (panels_in(n) / grid.columns + 1) * panel_width);
    words = left + (Right::made ? columns / panel_width * made_stride(step) : 0);
  }

  /// f(part, rows, panels) for each part, all at a time.
  template <class F>
  void each_part(std::size_t rows, std::size_t panels, const F& f) const {
    parallel_ranges(parts, 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t part = first; part < last; ++part) {
        const std::size_t r = part / grid.columns, q = part % grid.columns;
        f(part, Span{rows * r / grid.rows, rows * (r + 1) / grid.rows},
          Span{panels * q / grid.columns, panels * (q + 1) / grid.columns});
      }
    });
  }
};

/// A product each part of which makes panels for itself where the right side has none.   memory: parts · words
template <class Word, class Sum, class Left, class Right>
void product_in_parts(PanelProduct<Word, Sum> multiply, const Cut<Word, Right>& cut, std::size_t m, std::size_t n,
                      std::size_t depth, const Left& left, const Right& right, bool add, Sum* c, std::size_t c_row,
                      Word* memory) {
  cut.each_part(m, panels_in(n), [&](std::size_t part, const Span& rows, const Span& panels) {
    Word* const block = memory + part * cut.words;
    product_part(multiply, rows, Span{panels.begin * panel_width, std::min(n, panels.end * panel_width)}, depth, left,
                 right, add, c, c_row, block, block + cut.left);
  });
}

/// Panels that were made before, of one block of the depth.
template <class Word>
struct PanelsThere {
  static constexpr bool made = false;
  static constexpr std::size_t columns = 128, depth = block_depth<Word>;
  const Word* data;
  std::size_t stride;

  PanelList<Word> panels(std::size_t begin, std::size_t, std::size_t, std::size_t, Word*, std::size_t) const {
    return {data + begin / panel_width * stride, stride};
  }
  NextRead reads(std::size_t begin, std::size_t end, std::size_t, std::size_t words) const {
    return {data + begin / panel_width * stride, words * panel_width * sizeof(Word), stride * sizeof(Word),
            panels_in(end - begin)};
  }
};

/// A product of more rows than a block has: threads make the panels together, once for all rows, as many at a time as
/// stay in the last cache.
template <class Word, class Sum, class Left, class Right>
void product_of_many_rows(PanelProduct<Word, Sum> multiply, const Cut<Word, Right>& cut, std::size_t m, std::size_t n,
                          std::size_t depth, const Left& left, const Right& right, bool add, Sum* c,
                          std::size_t c_row) {
  constexpr std::size_t most = (std::size_t{1} << 22) / sizeof(Word), chunk = Right::columns;
  const std::size_t step = equal_depth(depth, Right::depth), stride = made_stride(step);
  const std::size_t chunks = (n + chunk - 1) / chunk, words = chunk / panel_width * stride;
  const std::size_t slices = (chunks * words + most - 1) / most, in_slice = (chunks + slices - 1) / slices;
  const Storage<Cpu> memory((cut.parts * cut.words + in_slice * words) * sizeof(Word));
  Word *const room = static_cast<Word*>(memory.data()), *const made = room + cut.parts * cut.words;
  for (std::size_t k = 0; k < depth; k += step) {
    const std::size_t d = std::min(step, depth - k);
    const auto block = [&](std::size_t i, std::size_t rows, std::size_t at, std::size_t terms, Word* to) {
      left(i, rows, k + at, terms, to);
    };
    for (std::size_t first = 0; first < chunks; first += in_slice) {
      const std::size_t j = first * chunk, width = std::min(n, j + in_slice * chunk) - j;
      parallel_ranges((width + chunk - 1) / chunk, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin * chunk; i < std::min(width, end * chunk); i += chunk)
          right.panels(j + i, j + std::min(width, i + chunk), k, d, made + i / panel_width * stride, stride);
      });
      product_in_parts(multiply, Cut<Word, PanelsThere<Word>>(m, width, d), m, width, d, block,
                       PanelsThere<Word>{made, stride}, add || k > 0, c + j, c_row, room);  // in no more than `cut`
    }
  }
}

}  // namespace detail

/// c = left · right (+ c if `add`).   c: [m, n]; depth in words
///
/// `left(row, rows, k, depth, to)` packs a block of the left side, `left_stride` from row to row. A right side says how
/// many `columns` of it and how much of its `depth` are in hand at a time; `panels(begin, end, k, depth, to, stride)`
/// are these, wherever they stand, or if it has them `made`, at `to`, from one to the next `stride`. What
/// `reads(begin, end, k, depth)` names is fetched while the panels before are multiplied.
template <class Word, class Sum, class Left, class Right>
void blocked_product(PanelProduct<Word, Sum> multiply, std::size_t m, std::size_t n, std::size_t depth,
                     const Left& left, const Right& right, bool add, Sum* c, std::size_t c_row) {
  if (m == 0 || n == 0) return;
  if (depth == 0) {
    for (std::size_t i = 0; i < m && !add; ++i) std::fill_n(c + i * c_row, n, Sum{});
    return;
  }
  const detail::Cut<Word, Right> cut(m, n, depth);
  if (Right::made && m > detail::left_rows(detail::equal_depth(depth, Right::depth), Right::depth)) {
    detail::product_of_many_rows(multiply, cut, m, n, depth, left, right, add, c, c_row);
  } else {
    const Storage<Cpu> memory(cut.parts * cut.words * sizeof(Word));
    detail::product_in_parts(multiply, cut, m, n, depth, left, right, add, c, c_row,
                             static_cast<Word*>(memory.data()));
  }
}

}  // namespace calm::kernel
