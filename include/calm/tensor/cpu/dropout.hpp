/// \file  Host kernels for dropout: the mask is a function of (key, element) and is never stored.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/philox.hpp"

namespace calm::kernel {

namespace detail {

/// Calls f(i, kept) for i in [0, n); element i is kept if `random_uniform(key, i)` is at least p.
template <class F>
void with_mask(std::size_t n, float p, RandomKey key, const F& f) {
  parallel_ranges((n + 3) / 4, 1 << 11, [=](std::size_t begin, std::size_t end) {
    for (std::size_t block = begin; block < end; ++block) {
      const PhiloxBlock bits = calm::detail::random_block(key, block);
      const std::size_t first = 4 * block, some = std::min<std::size_t>(4, n - first);
      for (std::size_t j = 0; j < some; ++j) f(first + j, calm::detail::uniform_of(bits[j]) >= p);
    }
  });
}

}  // namespace detail

/// y[i] = x[i] / (1 - p) where element i is kept, else 0
template <class T>
void dropout(Cpu, std::size_t n, float p, RandomKey key, const T* x, T* y) {
  using A = Accumulator<T>;
  const A scale = 1 / (1 - A(p));
  detail::with_mask(n, p, key, [=](std::size_t i, bool kept) { y[i] = static_cast<T>(kept ? scale * A(x[i]) : A(0)); });
}

/// dx[i] += dy[i] / (1 - p) where element i was kept
template <class T>
void dropout_backward(Cpu, std::size_t n, float p, RandomKey key, const T* dy, T* dx) {
  using A = Accumulator<T>;
  const A scale = 1 / (1 - A(p));
  detail::with_mask(n, p, key, [=](std::size_t i, bool kept) {
    if (kept) dx[i] = static_cast<T>(A(dx[i]) + scale * A(dy[i]));
  });
}

}  // namespace calm::kernel
