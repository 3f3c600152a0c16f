/// \file  Host kernels for rotary positions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "calm/tensor/cpu/sum.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// table[i] = the cosines, then the sines, of position[i] · frequency[k] for k < width/2. Angles are in double: an
/// angle of 10^5 in float would be wrong by up to 4·10^-3.
template <class A>
void rotations(Cpu, std::size_t n, std::size_t width, const double* frequency, const Index* position, A* table) {
  const std::size_t half = width / 2;
  parallel_ranges(n, 256 / std::max<std::size_t>(half, 1) + 1, [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      for (std::size_t k = 0; k < half; ++k) {
        const double angle = position[i] * frequency[k];
        table[i * width + k] = static_cast<A>(std::cos(angle));
        table[i * width + half + k] = static_cast<A>(std::sin(angle));
      }
    }
  });
}

/// y[i, h] = x[i, h] with its pairs turned by the angles of table[i], for heads of `width` elements of which the first
/// `turned` turn. Pair k is (k, k + turned/2), or (2k, 2k + 1) if `interleaved`.
template <class T>
void rope(Cpu, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
          const Accumulator<T>* table, const T* x, T* y) {
  using A = Accumulator<T>;
  const std::size_t half = turned / 2, step = interleaved ? 2 : 1, other = interleaved ? 1 : half;
  parallel_ranges(n, detail::rows_per_thread(heads * width), [=](std::size_t begin, std::size_t end) {
    for (std::size_t head = begin * heads; head < end * heads; ++head) {
      const A *cosine = table + head / heads * width, *sine = cosine + width / 2;
      const T* from = x + head * width;
      T* to = y + head * width;
      for (std::size_t k = 0; k < half; ++k) {
        const A a = A(from[k * step]), b = A(from[k * step + other]);
        to[k * step] = static_cast<T>(a * cosine[k] - b * sine[k]);
        to[k * step + other] = static_cast<T>(b * cosine[k] + a * sine[k]);
      }
      for (std::size_t c = turned; c < width; ++c) to[c] = from[c];
    }
  });
}

/// dx[i, h] = dy[i, h] with its pairs turned back (+ dx[i, h] if `add`)
template <class T>
void rope_backward(Cpu, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
                   const Accumulator<T>* table, const T* dy, T* dx, bool add = true) {
  using A = Accumulator<T>;
  const std::size_t half = turned / 2, step = interleaved ? 2 : 1, other = interleaved ? 1 : half;
  const auto run = [=](auto before, std::size_t begin, std::size_t end) {
    for (std::size_t head = begin * heads; head < end * heads; ++head) {
      const A *cosine = table + head / heads * width, *sine = cosine + width / 2;
      const T* from = dy + head * width;
      T* to = dx + head * width;
      for (std::size_t k = 0; k < half; ++k) {
        const A a = A(from[k * step]), b = A(from[k * step + other]);
        to[k * step] = static_cast<T>(before(to[k * step]) + a * cosine[k] + b * sine[k]);
        to[k * step + other] = static_cast<T>(before(to[k * step + other]) + b * cosine[k] - a * sine[k]);
      }
      for (std::size_t c = turned; c < width; ++c) to[c] = static_cast<T>(before(to[c]) + A(from[c]));
    }
  };
  parallel_ranges(n, detail::rows_per_thread(heads * width), [&](std::size_t begin, std::size_t end) {
    detail::with_before<A>(add, [&](auto before) { run(before, begin, end); });
  });
}

}  // namespace calm::kernel
