/// \file  Products of a few rows with a weight, as decoding makes them: the weight is read once, as it is stored.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/lanes.hpp"
#include "calm/tensor/dtype.hpp"

#define CALM_KERNELS "calm/tensor/cpu/few_rows_kernels.hpp"
#include "calm/tensor/cpu/each_set.hpp"

namespace calm::kernel::detail {

/// Up to how many rows this is faster than to pack the weight anew in each product; from bf16, the other way takes a
/// widened copy of it as well.
template <class W>
inline constexpr std::size_t few_rows = std::is_same_v<W, bf16> ? 32 : 4;

/// y = x · wᵀ for `rows` rows and the places [begin, end) of y.   x: [rows, depth], w: [.., depth], y: [rows, ..]; a
/// row of y has the same bits whatever rows stand beside it.
template <class A, class W>
void multiply_few_rows(std::size_t rows, std::size_t begin, std::size_t end, std::size_t depth, const A* x,
                       std::size_t x_row, const W* w, std::size_t w_row, A* y, std::size_t y_row) {
  with_instructions<native::FewRows, avx2::FewRows, avx512::FewRows>(
      [=](auto set) { set.multiply(rows, begin, end, depth, x, x_row, w, w_row, y, y_row); });
}

}  // namespace calm::kernel::detail
