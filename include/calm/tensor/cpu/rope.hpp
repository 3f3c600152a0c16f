/// \file  Host kernels for rotary positions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "calm/tensor/cpu/sum.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

/// table[i] = the cosines, then the sines, of position[i] · theta^(-2k/width) for k < width/2. Angles are in double: an
/// angle of 10^5 in float would be wrong by up to 4·10^-3.
template <class A>
void rotations(Cpu, std::size_t n, std::size_t width, double theta, const Index* position, A* table) {
  const std::size_t half = width / 2;
  const Storage<Cpu> memory(half * sizeof(double));
  auto* frequency = static_cast<double*>(memory.data());
  for (std::size_t k = 0; k < half; ++k) {
    frequency[k] = std::pow(theta, -2.0 * static_cast<double>(k) / static_cast<double>(width));
  }
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

/// y[i, h] = x[i, h] with its pairs turned by the angles of table[i], for heads of `width` elements. Pair k is
/// (k, k + width/2), or (2k, 2k + 1) if `interleaved`.
template <class T>
void rope(Cpu, std::size_t n, std::size_t heads, std::size_t width, bool interleaved, const Accumulator<T>* table,
          const T* x, T* y) {
  using A = Accumulator<T>;
  const std::size_t half = width / 2, step = interleaved ? 2 : 1, other = interleaved ? 1 : half;
  parallel_ranges(n, detail::rows_per_thread(heads * width), [=](std::size_t begin, std::size_t end) {
    for (std::size_t head = begin * heads; head < end * heads; ++head) {
      const A *cosine = table + head / heads * width, *sine = cosine + half;
      const T* from = x + head * width;
      T* to = y + head * width;
      for (std::size_t k = 0; k < half; ++k) {
        const A a = A(from[k * step]), b = A(from[k * step + other]);
        to[k * step] = static_cast<T>(a * cosine[k] - b * sine[k]);
        to[k * step + other] = static_cast<T>(b * cosine[k] + a * sine[k]);
      }
    }
  });
}

/// dx[i, h] += dy[i, h] with its pairs turned back.
template <class T>
void rope_backward(Cpu, std::size_t n, std::size_t heads, std::size_t width, bool interleaved,
                   const Accumulator<T>* table, const T* dy, T* dx) {
  using A = Accumulator<T>;
  const std::size_t half = width / 2, step = interleaved ? 2 : 1, other = interleaved ? 1 : half;
  parallel_ranges(n, detail::rows_per_thread(heads * width), [=](std::size_t begin, std::size_t end) {
    for (std::size_t head = begin * heads; head < end * heads; ++head) {
      const A *cosine = table + head / heads * width, *sine = cosine + half;
      const T* from = dy + head * width;
      T* to = dx + head * width;
      for (std::size_t k = 0; k < half; ++k) {
        const A a = A(from[k * step]), b = A(from[k * step + other]);
        to[k * step] = static_cast<T>(A(to[k * step]) + a * cosine[k] + b * sine[k]);
        to[k * step + other] = static_cast<T>(A(to[k * step + other]) + b * cosine[k] - a * sine[k]);
      }
    }
  });
}

}  // namespace calm::kernel
