/// \file  Host kernels for elementwise arithmetic. A second operand of `cols` elements repeats; cols = 0: it does not.
#pragma once

#include <cstddef>

#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

/// z[i] = f(x[i], y[i or i mod cols], z[i]), computed in the accumulator type.
template <class T, class F>
void zip(std::size_t n, std::size_t cols, const T* x, const T* y, T* z, const F& f) {
  using A = Accumulator<T>;
  const std::size_t width = cols == 0 ? n : cols;
  if (n == 0) return;
  const std::size_t rows = n / width;
  if (rows == 1) {
    parallel_ranges(n, 1 << 15, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) z[i] = static_cast<T>(f(A(x[i]), A(y[i]), A(z[i])));
    });
    return;
  }
  parallel_ranges(rows, (1 << 15) / width + 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const T* xr = x + r * width;
      T* zr = z + r * width;
      for (std::size_t c = 0; c < width; ++c) zr[c] = static_cast<T>(f(A(xr[c]), A(y[c]), A(zr[c])));
    }
  });
}

}  // namespace detail

/// z = x + factor · y
template <class T>
void add_scaled(Cpu, std::size_t n, std::size_t cols, const T* x, const T* y, Accumulator<T> factor, T* z) {
  detail::zip(n, cols, x, y, z, [factor](auto a, auto b, auto) { return a + factor * b; });
}

/// z = x · y
template <class T>
void multiply(Cpu, std::size_t n, std::size_t cols, const T* x, const T* y, T* z) {
  detail::zip(n, cols, x, y, z, [](auto a, auto b, auto) { return a * b; });
}

/// z += x · y
template <class T>
void multiply_add(Cpu, std::size_t n, std::size_t cols, const T* x, const T* y, T* z) {
  detail::zip(n, cols, x, y, z, [](auto a, auto b, auto c) { return c + a * b; });
}

/// y += factor · x
template <class T>
void axpy(Cpu, std::size_t n, Accumulator<T> factor, const T* x, T* y) {
  detail::zip(n, 0, x, y, y, [factor](auto a, auto b, auto) { return b + factor * a; });
}

/// y += *factor · x
template <class T>
void axpy_by(Cpu device, std::size_t n, const T* factor, const T* x, T* y) {
  axpy(device, n, static_cast<Accumulator<T>>(*factor), x, y);
}

/// y = factor · x
template <class T>
void scale(Cpu, std::size_t n, Accumulator<T> factor, const T* x, T* y) {
  detail::zip(n, 0, x, x, y, [factor](auto a, auto, auto) { return factor * a; });
}

}  // namespace calm::kernel
