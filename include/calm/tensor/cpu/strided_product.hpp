/// \file  Products of matrices that are packed block by block as they are multiplied.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/blocked_product.hpp"

namespace calm::kernel::detail {

/// alpha · op(A) as a left side.   op(A): [.., depth]
template <class T>
struct StridedLeft {
  const T* a;
  std::size_t stride;
  bool transposed;
  std::size_t all;  // of the depth
  T alpha;

  void operator()(std::size_t first, std::size_t rows, std::size_t k, std::size_t depth, T* to) const {
    if (!transposed) {
      for (std::size_t r = 0; r < rows; ++r) {
        if (r + 2 < rows) prefetch_row(a + (first + r + 2) * stride + k, depth * sizeof(T));
        pack_row<T>(all, k, depth, alpha, a + (first + r) * stride, to + r * left_stride<T>);
      }
      return;
    }
    transpose<BitsOf<T>>(depth, rows, a + k * stride + first, stride, to, left_stride<T>);
    for (std::size_t r = 0; alpha != 1 && r < rows; ++r) {
      for (std::size_t i = 0; i < depth; ++i) to[r * left_stride<T> + i] *= alpha;
    }
  }
};

/// op(B) as a right side.
template <class T>
struct StridedRight {
  static constexpr bool made = true;
  static constexpr std::size_t columns = 64, depth = block_depth<T>;
  const T* b;
  std::size_t row;  // from row to row of B
  bool transposed;

  std::size_t stride() const { return depth * panel_width; }
  NextRead reads(std::size_t begin, std::size_t end, std::size_t k, std::size_t rows) const {
    if (transposed) return {b + begin * row + k, rows * sizeof(T), row * sizeof(T), end - begin};
    return {b + k * row + begin, (end - begin) * sizeof(T), row * sizeof(T), rows};
  }
  void make(std::size_t begin, std::size_t end, std::size_t k, std::size_t rows, T* to) const {
    for (std::size_t j = begin; j < end; j += panel_width, to += stride()) {
      const std::size_t there = std::min(panel_width, end - j);
      if (transposed) {
        transpose<BitsOf<T>>(there, rows, b + j * row + k, row, to, panel_width);
      } else {
        for (std::size_t i = 0; i < rows; ++i) std::copy_n(b + (k + i) * row + j, there, to + i * panel_width);
      }
      for (std::size_t i = 0; there < panel_width && i < rows; ++i)
        std::fill(to + i * panel_width + there, to + (i + 1) * panel_width, T{});
    }
  }
};

}  // namespace calm::kernel::detail
