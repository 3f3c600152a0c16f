/// \file  The GPU's kernels for rotary positions.
#pragma once

#include <cmath>
#include <string>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/mirror.hpp"
#include "calm/tensor/cuda/pack.cuh"
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

/// Index i is pair k of a head, or one of the elements behind the `turned` ones; packs hold neighbours of one kind.
template <class T, bool Backward>
struct Rope {
  using A = Accumulator<T>;
  std::size_t heads, width, turned;
  bool interleaved;
  const A* table;
  const T* x;
  T* y;
  bool add;

  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    const std::size_t half = turned / 2, of_head = half + (width - turned), head = i / of_head, k = i % of_head;
    const T* from = x + head * width;
    T* to = y + head * width;
    if (k >= half) {
      const std::size_t c = turned + (k - half);
      store(to + c, wide(load<N>(from + c)), add);
      return;
    }
    const A* row = table + head / heads * width;
    const auto cosine = load<N>(row + k), sine = load<N>(row + width / 2 + k);
    if (interleaved) {
      auto pairs = wide(load<2 * N>(from + 2 * k));
      for (std::size_t j = 0; j < N; ++j) turn(cosine.at[j], sine.at[j], pairs.at[2 * j], pairs.at[2 * j + 1]);
      store(to + 2 * k, pairs, add);
    } else {
      auto first = wide(load<N>(from + k)), second = wide(load<N>(from + k + half));
      for (std::size_t j = 0; j < N; ++j) turn(cosine.at[j], sine.at[j], first.at[j], second.at[j]);
      store(to + k, first, add);
      store(to + k + half, second, add);
    }
  }

 private:
  CALM_KERNEL static void turn(A cosine, A sine, A& first, A& second) {
    const A s = Backward ? -sine : sine, a = first, b = second;
    first = a * cosine - b * s;
    second = b * cosine + a * s;
  }
};

template <bool Backward, class T>
void turn_heads(const char* kernel, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned,
                bool interleaved, const Accumulator<T>* table, const T* x, T* y, bool add) {
  constexpr std::size_t pack = pack_width<Accumulator<T>>;
  const std::size_t of_head = turned / 2 + (width - turned);
  const bool packs = in_packs(table, x, y) && turned % (2 * pack) == 0 && width % (2 * pack) == 0;
  each_pack<pack>(kernel, n * heads * of_head, packs,
                  Rope<T, Backward>{heads, width, turned, interleaved, table, x, y, add});
}

}  // namespace calm::cuda

namespace calm::kernel {

template <class A>
void rotations(Cuda, std::size_t n, std::size_t width, const double* frequency, const Index* position, A* table) {
  const std::size_t half = width / 2;
  calm::detail::require(half <= cuda::most_pairs, [&] {
    return "calm::kernel::rotations: heads " + std::to_string(width) + " wide; on Cuda they turn up to a width of " +
           std::to_string(2 * cuda::most_pairs);
  });
  cuda::Rotations<A> run{width, cuda::near(position), table, {}};
  std::copy_n(frequency, half, run.frequency);
  cuda::each("rotations", n * half, run);
}
template <class T>
void rope(Cuda, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
          const Accumulator<T>* table, const T* x, T* y) {
  cuda::turn_heads<false>("rope", n, heads, width, turned, interleaved, table, x, y, false);
}
template <class T>
void rope_backward(Cuda, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
                   const Accumulator<T>* table, const T* dy, T* dx, bool add) {
  cuda::turn_heads<true>("rope_backward", n, heads, width, turned, interleaved, table, dy, dx, add);
}

template void rotations<float>(Cuda, std::size_t, std::size_t, const double*, const Index*, float*);
template void rotations<double>(Cuda, std::size_t, std::size_t, const double*, const Index*, double*);
#define CALM_ROPE(T)                                                                                                   \
  template void rope<T>(Cuda, std::size_t, std::size_t, std::size_t, std::size_t, bool, const Accumulator<T>*,         \
                        const T*, T*);                                                                                 \
  template void rope_backward<T>(Cuda, std::size_t, std::size_t, std::size_t, std::size_t, bool,                       \
                                 const Accumulator<T>*, const T*, T*, bool);
CALM_FOR_COMPUTE_TYPES(CALM_ROPE)
#undef CALM_ROPE

}  // namespace calm::kernel
