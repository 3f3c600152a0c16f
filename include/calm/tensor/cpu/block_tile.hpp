/// \file  Products of two blocks of words that lie in the nearest cache, in registers. Included by `tile.hpp` once for
/// each instruction set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/tiles.hpp"
#else

namespace calm::kernel::CALM_SET {

inline constexpr std::size_t block_tile_rows = registers == 32 ? 8 : 4;  // by two registers: 16 sums, or 8

/// c = a · b (+ c if `add`) for a few rows and `Vectors` registers of columns. Terms are added to c one by one: how a
/// longer sum is cut changes no bit.
template <class Rule, std::size_t Vectors>
[[gnu::always_inline]] inline void block_tile(std::size_t depth, const detail::Strided<typename Rule::word>& a,
                                              const typename Rule::word* b, std::size_t b_row, typename Rule::sum* c,
                                              std::size_t c_row, bool add) {
  using V = typename Rule::V;
  constexpr std::size_t count = Register<typename Rule::sum>::count, rows = block_tile_rows;
  V sum[rows][Vectors];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (std::size_t j = 0; j < Vectors; ++j) {
      sum[r][j] = V{};
      if (add) load(sum[r][j], c + r * c_row + j * count);
    }
  }
  for (std::size_t k = 0; k < depth; ++k) {
    V right[Vectors];
#pragma GCC unroll 2
    for (std::size_t j = 0; j < Vectors; ++j) load(right[j], b + k * b_row + j * count);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < rows; ++r) {
      V left;
      spread(left, a.data + r * a.row + k * a.column);
#pragma GCC unroll 2
      for (std::size_t j = 0; j < Vectors; ++j) Rule::add(sum[r][j], left, right[j]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (std::size_t j = 0; j < Vectors; ++j) store(sum[r][j], c + r * c_row + j * count);
  }
}

/// A `BlockProduct`.
template <class Rule>
void multiply_block(std::size_t rows, std::size_t cols, std::size_t depth, detail::Strided<typename Rule::word> a,
                    const typename Rule::word* b, std::size_t b_row, typename Rule::sum* c, std::size_t c_row,
                    bool add) {
  constexpr std::size_t count = Register<typename Rule::sum>::count;
  for (std::size_t i = 0; i < rows; i += block_tile_rows, a.data += block_tile_rows * a.row) {
    std::size_t j = 0;
    for (; j + 2 * count <= cols; j += 2 * count)
      block_tile<Rule, 2>(depth, a, b + j, b_row, c + i * c_row + j, c_row, add);
    if (j < cols) block_tile<Rule, 1>(depth, a, b + j, b_row, c + i * c_row + j, c_row, add);
  }
}

}  // namespace calm::kernel::CALM_SET

#endif
