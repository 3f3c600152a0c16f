/// \file  Host kernels that sum along an axis, and the sum along a row that other kernels use.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

/// Σ f(i) for i in [0, n) and for each f, in one fixed order: sixteen interleaved sums, so that it vectorises, folded
/// into a double every 1024 elements, so that float loses little.
template <class A, class... F>
std::array<A, sizeof...(F)> sums_of(std::size_t n, const F&... f) {
  constexpr std::size_t lanes = 16, block = 1024, count = sizeof...(F);
  double total[count] = {};
  for (std::size_t first = 0; first < n; first += block) {
    const std::size_t last = std::min(n, first + block), whole = first + (last - first) / lanes * lanes;
    A lane[count][lanes] = {};
    const auto add = [&](std::size_t i, std::size_t there) {
      std::size_t k = 0;
      const auto to = [&](A* sum, const auto& g) {
        for (std::size_t j = 0; j < there; ++j) sum[j] += g(i + j);
      };
      (to(lane[k++], f), ...);
    };
    for (std::size_t i = first; i < whole; i += lanes) add(i, lanes);
    add(whole, last - whole);
    for (std::size_t k = 0; k < count; ++k) {
      for (std::size_t half = lanes / 2; half > 0; half /= 2) {
        for (std::size_t j = 0; j < half; ++j) lane[k][j] += lane[k][j + half];
      }
      total[k] += static_cast<double>(lane[k][0]);
    }
  }
  std::array<A, count> sums;
  for (std::size_t k = 0; k < count; ++k) sums[k] = static_cast<A>(total[k]);
  return sums;
}

/// The same of one.
template <class A, class F>
A sum_of(std::size_t n, const F& f) {
  return sums_of<A>(n, f)[0];
}

/// The largest of `n` > 0 numbers, in 64 interleaved runs, so that it vectorises.
template <class A>
A largest(std::size_t n, const A* x) {
  constexpr std::size_t lanes = 64;
  A top[lanes];
  std::fill_n(top, lanes, x[0]);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::size_t j = 0; j < lanes; ++j) top[j] = top[j] < x[i + j] ? x[i + j] : top[j];
  }
  for (; i < n; ++i) top[0] = std::max(top[0], x[i]);
  return *std::max_element(top, top + lanes);
}

/// Calls f(before), before(y) being what stood in y if `add`, else 0.
template <class A, class F>
void with_before(bool add, const F& f) {
  if (add)
    f([](auto y) { return A(y); });
  else
    f([](auto) { return A(0); });
}

/// How many rows of `cols` elements are enough work for a thread.
inline std::size_t rows_per_thread(std::size_t cols) { return (1 << 15) / std::max<std::size_t>(cols, 1) + 1; }

}  // namespace detail

/// y[o, c] = factor · Σ_i x[o, i, c]   for x: [outer, n, inner]
template <class T>
void sum_axis(Cpu, std::size_t outer, std::size_t n, std::size_t inner, Accumulator<T> factor, const T* x, T* y) {
  using A = Accumulator<T>;
  constexpr std::size_t width = 64;  // columns that are added up at a time
  const std::size_t blocks = (inner + width - 1) / width;
  parallel_ranges(outer * blocks, detail::rows_per_thread(n * std::min(inner, width)),
                  [=](std::size_t begin, std::size_t end) {
    for (std::size_t part = begin; part < end; ++part) {
      const std::size_t o = part / blocks, c0 = part % blocks * width, cols = std::min(width, inner - c0);
      const T* from = x + o * n * inner + c0;
      T* to = y + o * inner + c0;
      if (inner == 1) {
        *to = static_cast<T>(factor * detail::sum_of<A>(n, [=](std::size_t i) { return A(from[i]); }));
        continue;
      }
      A total[width] = {};
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t c = 0; c < cols; ++c) total[c] += A(from[i * inner + c]);
      }
      for (std::size_t c = 0; c < cols; ++c) to[c] = static_cast<T>(factor * total[c]);
    }
  });
}

/// dx[o, i, c] += factor · dy[o, c]   for dx: [outer, n, inner]
template <class T>
void spread_axis(Cpu, std::size_t outer, std::size_t n, std::size_t inner, Accumulator<T> factor, const T* dy, T* dx) {
  using A = Accumulator<T>;
  parallel_ranges(outer * n, detail::rows_per_thread(inner), [=](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      const T* from = dy + row / n * inner;
      T* to = dx + row * inner;
      for (std::size_t c = 0; c < inner; ++c) to[c] = static_cast<T>(A(to[c]) + factor * A(from[c]));
    }
  });
}

}  // namespace calm::kernel
