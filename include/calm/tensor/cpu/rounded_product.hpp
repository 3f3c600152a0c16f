/// \file  Products of matrices in float that are rounded to bf16 and packed block by block as they are multiplied.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/attention_words.hpp"  // pack_rows, pack_columns
#include "calm/tensor/cpu/blocked_product.hpp"
#include "calm/tensor/cpu/gemm.hpp"

namespace calm::kernel {

namespace detail {

/// op(A) as a left side.   op(A): [.., depth]
struct RoundedLeft {
  const float* a;
  std::size_t stride;
  bool transposed;
  std::size_t all;  // of the depth, in numbers

  void operator()(std::size_t first, std::size_t rows, std::size_t k, std::size_t depth, Pair* to) const {
    const std::size_t there = std::min(2 * depth, all - 2 * k);
    if (!transposed) {
      pack_rows(rows, there, stride, a + first * stride + 2 * k, to, left_stride<Pair>);
      return;
    }
    constexpr std::size_t columns = 64, words = 16;  // of a piece
    Pair piece[words * columns];
    for (std::size_t c = 0; c < rows; c += columns) {
      const std::size_t width = std::min(columns, rows - c);
      for (std::size_t i = 0; i < depth; i += words) {
        const std::size_t n = std::min(words, depth - i);
        pack_columns(std::min(2 * n, there - 2 * i), width, stride, a + 2 * (k + i) * stride + first + c, piece,
                     columns);
        transpose<BitsOf<Pair>>(n, width, piece, columns, to + c * left_stride<Pair> + i, left_stride<Pair>);
      }
    }
  }
};

/// op(B) as a right side.
struct RoundedRight {
  static constexpr bool made = true;
  static constexpr std::size_t columns = 128, depth = block_depth<Pair>;
  const float* b;
  std::size_t row;  // from row to row of B
  bool transposed;
  std::size_t all;  // of the depth, in numbers

  NextRead reads(std::size_t, std::size_t, std::size_t, std::size_t) const { return {}; }
  PanelList<Pair> panels(std::size_t begin, std::size_t end, std::size_t k, std::size_t words, Pair* to,
                         std::size_t stride) const {
    constexpr std::size_t most = 32;  // words at a time, so that lines which two panels share are read once
    Pair piece[panel_width * most];
    for (std::size_t i = 0; i < words; i += most) {
      const std::size_t n = std::min(most, words - i), there = std::min(2 * n, all - 2 * (k + i));
      for (std::size_t j = begin; j < end; j += panel_width) {
        const std::size_t width = std::min(panel_width, end - j);
        Pair* const panel = to + (j - begin) / panel_width * stride + i * panel_width;
        if (transposed) {
          if (width < panel_width) std::fill_n(piece, panel_width * most, Pair{});
          pack_rows(width, there, row, b + j * row + 2 * (k + i), piece, most);
          transpose<BitsOf<Pair>>(panel_width, n, piece, most, panel, panel_width);
        } else {
          pack_columns(there, width, row, b + 2 * (k + i) * row + j, panel, panel_width);
        }
      }
    }
    return {to, stride};
  }
};

}  // namespace detail

/// C = op(A) · op(B) (+ C if `add`) with C: m × n and the inner extent k, both operands rounded to bf16 and the sums
/// kept in float. A · Bᵀ of so few rows that B is read once and never packed (`gemm`) is not rounded.
template <int = 0>
void rounded_gemm(Cpu device, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, MatrixRef<const float> a,
                  MatrixRef<const float> b, bool add, MatrixRef<float> c) {
  if (op_a == Op::none && op_b == Op::transpose && m <= detail::few_rows<float>) {
    gemm<float>(device, op_a, op_b, m, n, k, 1, a, b, add, c);
    return;
  }
  blocked_product(fastest_product<Pair>(), m, n, words_in<bf16>(k),
                  detail::RoundedLeft{a.data, a.stride, op_a == Op::transpose, k},
                  detail::RoundedRight{b.data, b.stride, op_b == Op::transpose, k}, add, c.data, c.stride);
}

}  // namespace calm::kernel
