/// \file  The GPU's kernels for rotary positions.
#pragma once

#include <cmath>
#include <string>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/error.hpp"

namespace calm::cuda {

/// Pairs of a head's elements, in what a launch can carry by value.
inline constexpr std::size_t most_pairs = 256;

template <class A>
struct Rotations {
  std::size_t width;
  const Index* position;
  A* table;
  double frequency[most_pairs];
  CALM_KERNEL void operator()(std::size_t i) const {
    const std::size_t half = width / 2, row = i / half, k = i % half;
    const double angle = position[row] * frequency[k];  // in float it would be wrong by up to 4e-3 at 10^5
    table[row * width + k] = static_cast<A>(std::cos(angle));
    table[row * width + half + k] = static_cast<A>(std::sin(angle));
  }
};

/// Index i is pair k of a head, or one of the elements behind the `turned` ones.
template <class T, bool Backward>
struct Rope {
  std::size_t heads, width, turned;
  bool interleaved;
  const Accumulator<T>* table;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const {
    using A = Accumulator<T>;
    const std::size_t half = turned / 2, of_head = half + (width - turned), head = i / of_head, k = i % of_head;
    const T* from = x + head * width;
    T* to = y + head * width;
    if (k >= half) {
      const std::size_t c = turned + (k - half);
      to[c] = Backward ? narrow<T>(wide(to[c]) + wide(from[c])) : from[c];
      return;
    }
    const A* row = table + head / heads * width;
    const A cosine = row[k], sine = Backward ? -row[width / 2 + k] : row[width / 2 + k];
    const std::size_t first = interleaved ? 2 * k : k, second = interleaved ? first + 1 : k + half;
    const A a = wide(from[first]), b = wide(from[second]);
    const A turned_a = a * cosine - b * sine, turned_b = b * cosine + a * sine;
    to[first] = narrow<T>(Backward ? wide(to[first]) + turned_a : turned_a);
    to[second] = narrow<T>(Backward ? wide(to[second]) + turned_b : turned_b);
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class A>
void rotations(Cuda, std::size_t n, std::size_t width, const double* frequency, const Index* position, A* table) {
  const std::size_t half = width / 2;
  calm::detail::require(half <= cuda::most_pairs, [&] {
    return "calm::kernel::rotations: heads " + std::to_string(width) + " wide; on Cuda they turn up to a width of " +
           std::to_string(2 * cuda::most_pairs);
  });
  cuda::Rotations<A> run{width, position, table, {}};
  std::copy_n(frequency, half, run.frequency);
  cuda::each("rotations", n * half, run);
}
template <class T>
void rope(Cuda, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
          const Accumulator<T>* table, const T* x, T* y) {
  const std::size_t of_head = turned / 2 + (width - turned);
  cuda::each("rope", n * heads * of_head, cuda::Rope<T, false>{heads, width, turned, interleaved, table, x, y});
}
template <class T>
void rope_backward(Cuda, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
                   const Accumulator<T>* table, const T* dy, T* dx) {
  const std::size_t of_head = turned / 2 + (width - turned);
  cuda::each("rope_backward", n * heads * of_head,
             cuda::Rope<T, true>{heads, width, turned, interleaved, table, dy, dx});
}

template void rotations<float>(Cuda, std::size_t, std::size_t, const double*, const Index*, float*);
template void rotations<double>(Cuda, std::size_t, std::size_t, const double*, const Index*, double*);
#define CALM_ROPE(T)                                                                                                   \
  template void rope<T>(Cuda, std::size_t, std::size_t, std::size_t, std::size_t, bool, const Accumulator<T>*,         \
                        const T*, T*);                                                                                 \
  template void rope_backward<T>(Cuda, std::size_t, std::size_t, std::size_t, std::size_t, bool,                       \
                                 const Accumulator<T>*, const T*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_ROPE)
#undef CALM_ROPE

}  // namespace calm::kernel
