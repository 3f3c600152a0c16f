/// \file  Host kernels for a sum of arrays with softmax weights.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/many.hpp"
#include "calm/tensor/cpu/memory.hpp"
#include "calm/tensor/cpu/softmax.hpp"
#include "calm/tensor/cpu/sum.hpp"

namespace calm::kernel {

/// p = softmax(w), `n` numbers in the type of sums
template <class T>
void mix_weights(Cpu device, std::size_t n, const T* w, Accumulator<T>* p) {
  copy(device, n, w, p);
  softmax(device, 1, n, p, p);
}

/// z[i] = Σ_j p[j] · x[j][i] over `n` arrays of `size` elements
template <class T>
void mix(Cpu, std::size_t n, std::size_t size, const T* const* x, const Accumulator<T>* p, T* z) {
  using A = Accumulator<T>;
  constexpr std::size_t block = detail::place_block;
  parallel_ranges(size, detail::rows_per_thread(n), [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; i += block) {
      const std::size_t width = std::min(block, end - i);
      A total[block] = {};
      for (std::size_t j = 0; j < n; ++j) {
        for (std::size_t c = 0; c < width; ++c) total[c] += p[j] * A(x[j][i + c]);
      }
      for (std::size_t c = 0; c < width; ++c) z[i + c] = static_cast<T>(total[c]);
    }
  });
}

/// dx[j][i] += p[j] · dz[i]
template <class T>
void mix_backward(Cpu device, std::size_t n, std::size_t size, const Accumulator<T>* p, const T* dz, T* const* dx) {
  for (std::size_t j = 0; j < n; ++j) axpy(device, size, p[j], dz, dx[j]);
}

/// dw[j] += p[j] · (g[j] - Σ_k p[k] · g[k]), g[j] = Σ_i dz[i] · x[j][i], in order (so the same bits with any number of
/// threads)
template <class T>
void mix_weights_backward(Cpu, std::size_t n, std::size_t size, const T* const* x, const Accumulator<T>* p, const T* dz,
                          T* dw) {
  using A = Accumulator<T>;
  A g[most_arrays] = {};
  A* const sums = g;
  parallel_ranges(n, detail::rows_per_thread(size), [=](std::size_t begin, std::size_t end) {
    for (std::size_t j = begin; j < end; ++j) {
      const T* xj = x[j];
      sums[j] = detail::sum_of<A>(size, [=](std::size_t i) { return A(dz[i]) * A(xj[i]); });
    }
  });
  A mean = 0;
  for (std::size_t j = 0; j < n; ++j) mean += p[j] * g[j];
  for (std::size_t j = 0; j < n; ++j) dw[j] = static_cast<T>(A(dw[j]) + p[j] * (g[j] - mean));
}

}  // namespace calm::kernel
