/// \file  Host kernels for softmax over rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/sum.hpp"

namespace calm::kernel {

/// y[r, c] = e^(x[r, c] - m) / Σ_k e^(x[r, k] - m), m = max_k x[r, k]; an element of -∞ gets 0 exactly
template <class T>
void softmax(Cpu, std::size_t rows, std::size_t cols, const T* x, T* y) {
  using A = Accumulator<T>;
  parallel_ranges(rows, detail::rows_per_thread(4 * cols), [=](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const T* xr = x + r * cols;
      T* yr = y + r * cols;
      A most = A(xr[0]);
      for (std::size_t c = 1; c < cols; ++c) most = std::max(most, A(xr[c]));
      const auto weight = [=](std::size_t c) {
        const A below = A(xr[c]) - most;
        return below < A(-87) ? A(0) : fast_exp(below);
      };
      const A scale = 1 / detail::sum_of<A>(cols, weight);
      for (std::size_t c = 0; c < cols; ++c) yr[c] = static_cast<T>(weight(c) * scale);
    }
  });
}

/// dx[r, c] += y[r, c] · (dy[r, c] - Σ_k y[r, k] · dy[r, k])
template <class T>
void softmax_backward(Cpu, std::size_t rows, std::size_t cols, const T* y, const T* dy, T* dx) {
  using A = Accumulator<T>;
  parallel_ranges(rows, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const T *yr = y + r * cols, *dyr = dy + r * cols;
      T* dxr = dx + r * cols;
      const A dot = detail::sum_of<A>(cols, [=](std::size_t c) { return A(yr[c]) * A(dyr[c]); });
      for (std::size_t c = 0; c < cols; ++c) dxr[c] = static_cast<T>(A(dxr[c]) + A(yr[c]) * (A(dyr[c]) - dot));
    }
  });
}

}  // namespace calm::kernel
