/// \file  Products of matrices that are packed block by block as they are multiplied.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

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
  static constexpr std::size_t columns = 128, depth = block_depth<T>;
  const T* b;
  std::size_t row;  // from row to row of B
  bool transposed;

  NextRead reads(std::size_t begin, std::size_t end, std::size_t k, std::size_t rows) const {
    if (transposed) return {b + begin * row + k, rows * sizeof(T), row * sizeof(T), end - begin};
    return {b + k * row + begin, (end - begin) * sizeof(T), row * sizeof(T), rows};
  }
  PanelList<T> panels(std::size_t begin, std::size_t end, std::size_t k, std::size_t rows, T* to,
                      std::size_t stride) const {
    const PanelList<T> list{to, stride};
    const std::size_t whole = (end - begin) / panel_width, rest = (end - begin) % panel_width;
    T* const last = to + whole * stride;
    if (rest > 0) std::fill_n(last, rows * panel_width, T{});
    if (transposed) {
      for (std::size_t j = begin; j < end; j += panel_width, to += stride)
        transpose<BitsOf<T>>(std::min(panel_width, end - j), rows, b + j * row + k, row, to, panel_width);
      return list;
    }
    for (std::size_t i = 0; i < rows; ++i) {
      const T* const from = b + (k + i) * row + begin;
      for (std::size_t p = 0; p < whole; ++p)
        std::memcpy(to + p * stride + i * panel_width, from + p * panel_width, panel_width * sizeof(T));
      std::copy_n(from + whole * panel_width, rest, last + i * panel_width);
    }
    return list;
  }
};

/// B as a right side for a row or two, which would take longer to pack than to multiply; of whole panels alone.
template <class T>
struct RightInPlace {
  static constexpr bool made = false;
  static constexpr std::size_t columns = 128, depth = block_depth<T>;
  const T* b;
  std::size_t row;

  NextRead reads(std::size_t, std::size_t, std::size_t, std::size_t) const { return {}; }
  PanelList<T> panels(std::size_t begin, std::size_t, std::size_t k, std::size_t, T*, std::size_t) const {
    return {b + k * row + begin, panel_width, row};
  }
};

/// c = alpha · op(A) · op(B) (+ c if `add`)
template <class T>
void strided_product(std::size_t m, std::size_t n, const StridedLeft<T>& left, const StridedRight<T>& right, bool add,
                     T* c, std::size_t c_row) {
  const auto multiply = fastest_product<T>();
  const std::size_t in_place = m <= 2 && !right.transposed ? n / panel_width * panel_width : 0;
  blocked_product(multiply, m, in_place, left.all, left, RightInPlace<T>{right.b, right.row}, add, c, c_row);
  blocked_product(multiply, m, n - in_place, left.all, left,
                  StridedRight<T>{right.b + in_place, right.row, right.transposed}, add, c + in_place, c_row);
}

}  // namespace calm::kernel::detail
