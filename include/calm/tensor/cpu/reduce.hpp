/// \file  The host's sum over rows.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// sum[c] += Σ_r x[r, c], the rows in order (so the same bits with any number of threads)
template <class T>
void sum_rows(Cpu, std::size_t rows, std::size_t cols, const T* x, T* sum) {
  constexpr std::size_t width = 64;  // columns that a thread adds up at a time
  const std::size_t blocks = (cols + width - 1) / width;
  parallel_ranges(blocks, (1 << 15) / (rows * width + 1) + 1, [=](std::size_t begin, std::size_t end) {
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t c0 = block * width, n = std::min(width, cols - c0);
      Accumulator<T> total[width] = {};
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < n; ++c) total[c] += Accumulator<T>(x[r * cols + c0 + c]);
      }
      for (std::size_t c = 0; c < n; ++c) sum[c0 + c] = static_cast<T>(Accumulator<T>(sum[c0 + c]) + total[c]);
    }
  });
}

}  // namespace calm::kernel
