/// \file  Host kernel for a sum of arrays that does not depend on their order.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/many.hpp"
#include "calm/tensor/cpu/sum.hpp"

namespace calm::kernel {

/// y[i] = Σ_j x[j][i] over `n` > 0 arrays of `size` elements, each place's numbers added up in ascending order: the
/// same bits in any order of the arrays. y may be one of them.
template <class T>
void symmetric_sum(Cpu, std::size_t n, std::size_t size, const T* const* x, T* y) {
  using A = Accumulator<T>;
  constexpr std::size_t block = detail::place_block;
  parallel_ranges(size, detail::rows_per_thread(n * n), [=](std::size_t begin, std::size_t end) {
    A v[most_arrays][block];
    for (std::size_t i = begin; i < end; i += block) {
      const std::size_t width = std::min(block, end - i);
      for (std::size_t j = 0; j < n; ++j) {
        for (std::size_t c = 0; c < width; ++c) v[j][c] = A(x[j][i + c]);
      }
      if (n > 2) detail::sort_places(n, width, v);
      for (std::size_t j = 1; j < n; ++j) {
        for (std::size_t c = 0; c < width; ++c) v[0][c] += v[j][c];
      }
      for (std::size_t c = 0; c < width; ++c) y[i + c] = static_cast<T>(v[0][c]);
    }
  });
}

}  // namespace calm::kernel
