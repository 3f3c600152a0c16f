/// \file  Products of a few rows with a panel, in registers. `tiles.hpp` has this included once for each instruction
/// set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/tiles.hpp"
#else

namespace calm::kernel::CALM_SET {

inline constexpr std::size_t most_rows = registers == 32 ? 12 : register_bytes == 32 ? 6 : 4;  // of a tile
inline constexpr std::size_t ahead = 32;  // rows of a panel between what is read and what is fetched

/// sum += left · right, one product for each number.
template <class T>
struct Plain {
  using word = T;
  using sum = T;
  using V = typename Register<T>::type;
  [[gnu::always_inline]] static inline void add(V& s, const V& left, const V& right) { s += left * right; }
};

/// sum += left · right over pairs of bf16, widened to float.
struct WidenedPairs {
  using word = Pair;
  using sum = float;
  using V = Register<float>::type;
  [[gnu::always_inline]] static inline void add(V& s, const V& left, const V& right) {
    const Bits l = (Bits)left, r = (Bits)right;
    s += (V)(l << 16) * (V)(r << 16);
    s += (V)(l & 0xffff0000u) * (V)(r & 0xffff0000u);
  }
};

#if CALM_SET_BYTES == 64 || defined(__aarch64__)
/// The same by the processor's own instruction (AVX512_BF16, FEAT_BF16), written out so that it compiles without a
/// flag.
struct DotPairs : WidenedPairs {
  [[gnu::always_inline]] static inline void add(V& s, const V& left, const V& right) {
#if defined(__aarch64__)
    asm(".arch_extension bf16\n\tbfdot %0.4s, %1.8h, %2.8h" : "+w"(s) : "w"(left), "w"(right));
#else
    asm("vdpbf16ps %2, %1, %0" : "+v"(s) : "v"(left), "v"(right));
#endif
  }
};
#else
using DotPairs = WidenedPairs;
#endif

// One register each: GCC keeps what is copied as a whole array in memory.
template <class V>
[[gnu::always_inline]] inline void load(V& v, const void* from) {
  std::memcpy(&v, from, sizeof(v));
}
template <class V>
[[gnu::always_inline]] inline void store(const V& v, void* to) {
  std::memcpy(to, &v, sizeof(v));
}

/// A word in each place of a register. It stays there: GCC would read it from memory again in each product.
template <class V, class T>
[[gnu::always_inline]] inline void spread(V& to, const T* from) {
  if constexpr (sizeof(T) == 4) {
    std::uint32_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    to = (V)(Bits{} | bits);
  } else {
    typedef std::uint64_t Wide __attribute__((vector_size(register_bytes)));
    std::uint64_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    to = (V)(Wide{} | bits);
  }
#if defined(__x86_64__)
#if CALM_SET_BYTES == 64
  asm("" : "+v"(to));
#else
  asm("" : "+x"(to));
#endif
#elif defined(__aarch64__)
  asm("" : "+w"(to));
#endif
}

/// Walks through what is read next, evenly over the terms that are added up meanwhile, so that what lies beyond the
/// second cache is there when it is wanted: the processor foresees no jump from piece to piece.
struct Prefetch {
  const char *at, *end;
  std::size_t bytes, stride, step;

  /// `terms`: how often `some` will be called. Without anything to read, it stays at `here`.
  Prefetch(const NextRead& next, std::size_t terms, const void* here)
      : at(static_cast<const char*>(next.pieces > 0 ? next.at : here)),
        end(at + next.bytes),
        bytes(next.bytes),
        stride(next.stride),
        step((next.bytes * next.pieces + terms - 1) / terms) {}

  [[gnu::always_inline]] void some() {
    __builtin_prefetch(at, 0, 2);
    if (step > 64) __builtin_prefetch(at + 64, 0, 2);
    at += step;
    if (at >= end && step > 0) end += stride, at = end - bytes;
  }
};

/// c = a · b (+ c if `add`) for `Rows` rows of a, of which the first `rows` are written, and two registers of columns
/// in each of `Panels` panels. The terms of a sum are added in their order, whatever the tile.
template <class Rule, std::size_t Rows, std::size_t Panels>
void tile(std::size_t depth, const typename Rule::word* a, const PanelList<typename Rule::word>& b,
          typename Rule::sum* c, std::size_t c_row, std::size_t rows, bool add, Prefetch& prefetch) {
  using V = typename Rule::V;
  constexpr std::size_t count = Register<typename Rule::sum>::count, a_row = left_stride<typename Rule::word>;
  Prefetch next = prefetch;  // in registers
  const std::size_t b_panel = b.stride, b_row = b.row;
  const auto* from = b.data;
  V sum[Rows][2 * Panels];
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 12
    for (std::size_t j = 0; j < 2 * Panels; ++j) sum[r][j] = V{};
  }
  for (std::size_t r = 0; r < rows; ++r)
    __builtin_prefetch(c + r * c_row, 1), __builtin_prefetch(c + r * c_row + count, 1);
  for (std::size_t k = 0; k < depth; ++k, from += b_row) {
    V right[2 * Panels];
    if constexpr (2 * Rows > most_rows) next.some();  // few rows read as fast as they can anyway
#pragma GCC unroll 12
    for (std::size_t p = 0; p < Panels; ++p) {
      const auto* row = from + p * b_panel;
      if constexpr (Rows > 2) {  // a row or two read faster by the processor's own prefetching alone
        __builtin_prefetch(row + ahead * b_row);
        __builtin_prefetch(row + ahead * b_row + 64 / sizeof(*row));
      }
      load(right[2 * p], row), load(right[2 * p + 1], row + count);
    }
#pragma GCC unroll 12
    for (std::size_t r = 0; r < Rows; ++r) {
      V left;
      spread(left, a + r * a_row + k);
#pragma GCC unroll 12
      for (std::size_t j = 0; j < 2 * Panels; ++j) Rule::add(sum[r][j], left, right[j]);
    }
  }
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r) {
    if (r < rows) {
#pragma GCC unroll 12
      for (std::size_t j = 0; j < 2 * Panels; ++j) {
        auto* to = c + r * c_row + j / 2 * panel_width + j % 2 * count;
        V there = V{};
        if (add) load(there, to);
        there += sum[r][j];
        store(there, to);
      }
    }
  }
  prefetch.at = next.at, prefetch.end = next.end;
}

/// The smallest tile that cuts `rows` rows into as few equal parts as there must be.
inline std::size_t tile_rows(std::size_t rows) {
  const std::size_t tiles = (rows + most_rows - 1) / most_rows, even = (rows + tiles - 1) / tiles;
  return even <= 2 ? even : even <= 4 ? 4 : even <= 8 && most_rows > 8 ? 8 : most_rows;
}

/// Two registers of columns of one panel, or of four: where a row or two read them, the memory is busier with four.
template <class Rule>
void tile_of(std::size_t tall, bool four, std::size_t depth, const typename Rule::word* a,
             const PanelList<typename Rule::word>& b, typename Rule::sum* c, std::size_t c_row, std::size_t rows,
             bool add, Prefetch& prefetch) {
  auto* const which = tall == 1   ? (four ? &tile<Rule, 1, 4> : &tile<Rule, 1, 1>)
                      : tall == 2 ? (four ? &tile<Rule, 2, 4> : &tile<Rule, 2, 1>)
                      : tall == 4 ? &tile<Rule, 4, 1>
                      : tall == 8 ? &tile<Rule, std::min<std::size_t>(8, most_rows), 1>
                                  : &tile<Rule, most_rows, 1>;
  which(depth, a, b, c, c_row, rows, add, prefetch);
}

/// The columns [0, cols) of c, cols <= panel_width, for some of which the matrix may have none.
template <class Rule>
void multiply_columns(std::size_t tall, std::size_t cols, std::size_t depth, const typename Rule::word* a,
                      const PanelList<typename Rule::word>& b, typename Rule::sum* c, std::size_t c_row,
                      std::size_t rows, bool add, Prefetch& prefetch) {
  using Sum = typename Rule::sum;
  constexpr std::size_t wide = 2 * Register<Sum>::count;
  std::size_t j = 0;
  for (; j + wide <= cols; j += wide)
    tile_of<Rule>(tall, false, depth, a, {b.data + j, 0, b.row}, c + j, c_row, rows, add, prefetch);
  for (; j < cols; j += wide) {
    const std::size_t width = std::min(wide, cols - j);
    Sum whole[most_rows * wide];
    for (std::size_t i = 0; i < rows; ++i) std::copy_n(c + i * c_row + j, width, whole + i * wide);
    tile_of<Rule>(tall, false, depth, a, {b.data + j, 0, b.row}, whole, wide, rows, add, prefetch);
    for (std::size_t i = 0; i < rows; ++i) std::copy_n(whole + i * wide, width, c + i * c_row + j);
  }
}

/// c = a · b (+ c if `add`).   a: [rows, depth], `left_stride` from row to row, rows of anything up to a multiple of 12
/// behind it; c: [rows, cols]. `next` is fetched meanwhile.
template <class Rule>
void multiply_panels(std::size_t rows, std::size_t cols, std::size_t depth, const typename Rule::word* a,
                     const PanelList<typename Rule::word>& b, typename Rule::sum* c, std::size_t c_row, bool add,
                     const NextRead& next) {
  constexpr std::size_t wide = 2 * Register<typename Rule::sum>::count;
  const std::size_t tiles = (rows + most_rows - 1) / most_rows * ((cols + wide - 1) / wide);
  Prefetch prefetch(next, tiles * depth, b.data);
  const auto* at = b.data;
  std::size_t j = 0;
  for (; rows <= 2 && j + 4 * panel_width <= cols; j += 4 * panel_width, at += 4 * b.stride) {
    for (std::size_t i = 0; i < panel_width; i += wide)
      tile_of<Rule>(rows, true, depth, a, {at + i, b.stride, b.row}, c + j + i, c_row, rows, add, prefetch);
  }
  for (; j < cols; j += panel_width, at += b.stride) {
    for (std::size_t r = 0, tall; r < rows; r += tall) {
      tall = tile_rows(rows - r);
      multiply_columns<Rule>(tall, std::min(panel_width, cols - j), depth, a + r * left_stride<typename Rule::word>,
                             {at, 0, b.row}, c + r * c_row + j, c_row, std::min(tall, rows - r), add, prefetch);
    }
  }
}

}  // namespace calm::kernel::CALM_SET

#include "calm/tensor/cpu/block_tile.hpp"
#include "calm/tensor/cpu/dot_tile.hpp"

namespace calm::kernel::CALM_SET {

/// The products that this instruction set has, by the rule of their words.
struct Products {
  using Dots = DotPairs;
  using Widened = WidenedPairs;
  template <class T>
  using Numbers = Plain<T>;

  template <class Rule>
  static auto panels(Rule) {
    return &multiply_panels<Rule>;
  }
  template <class Rule>
  static auto blocks(Rule) {
    return &multiply_block<Rule>;
  }
  template <class Rule>
  static auto dots(Rule) {
    return &dot_rows<Rule>;
  }
};

}  // namespace calm::kernel::CALM_SET

#endif
