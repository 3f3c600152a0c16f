/// \file  The GPU's kernels of the optimizer: one sweep per parameter, and the norms of all gradients.
#pragma once

#include <algorithm>
#include <cmath>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/pack.cuh"

namespace calm::cuda {

/// Arrays in what a launch carries by value, cut into chunks that are counted through: array i has those from first[i]
/// to first[i + 1].
struct Chunks {
  static constexpr std::size_t most = 128;
  std::size_t count = 0;
  kernel::Elements array[most];
  std::size_t first[most + 1];

  CALM_KERNEL std::size_t array_of(std::size_t chunk) const {
    std::size_t i = 0, end = count;
    while (end - i > 1) {
      const std::size_t middle = (i + end) / 2;
      (first[middle] <= chunk ? i : end) = middle;
    }
    return i;
  }
};

/// partial[item] = Σ x² of one chunk
template <std::size_t N, class T>
struct Squares {
  Chunks chunks;
  double* partial;
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const std::size_t i = chunks.array_of(item), begin = (item - chunks.first[i]) * kernel::norm_chunk;
    const std::size_t left = chunks.array[i].size - begin, n = left < kernel::norm_chunk ? left : kernel::norm_chunk;
    const T* const x = static_cast<const T*>(chunks.array[i].data) + begin;
    const double sum = team.template sum<double>(n / N, [&](std::size_t j) { return squares<N>(x + j * N); }) +
                       team.template sum<double>(n % N, [&](std::size_t j) { return squares<1>(x + n / N * N + j); });
    team.each(1, [&](std::size_t) { partial[item] = sum; });
  }

 private:
  template <std::size_t M>
  CALM_KERNEL static double squares(const T* x) {
    const auto pack = load<M>(x);
    double sum = 0;
    for (std::size_t j = 0; j < M; ++j) sum += static_cast<double>(pack.at[j]) * static_cast<double>(pack.at[j]);
    return sum;
  }
};

struct SumAll {
  std::size_t n;
  const double* x;
  double* sum;
  CALM_KERNEL void operator()(const Team& team, std::size_t) const {
    const double total = team.template sum<double>(n, [&](std::size_t i) { return x[i]; });
    team.each(1, [&](std::size_t) { *sum = total; });
  }
};

/// sums[i] = Σ partial over the chunks of array i
struct SumChunks {
  Chunks chunks;
  const double* partial;
  double* sums;
  CALM_KERNEL void operator()(const Team& team, std::size_t i) const {
    SumAll{chunks.first[i + 1] - chunks.first[i], partial + chunks.first[i], sums + i}(team, 0);
  }
};

/// As kernel::adamw of the host, in one sweep over all arrays.
template <class T, class A>
struct AdamW {
  kernel::AdamWStep<A> s;
  const T* g;
  A *m, *v, *master;
  T* x;

  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    auto moment = load<N>(m + i), square = load<N>(v + i);
    auto now = load<N>(x + i);
    Pack<T, N> gradient{};
    Pack<A, N> exact{};
    if (g) gradient = load<N>(g + i);
    if (master) exact = load<N>(master + i);
    for (std::size_t j = 0; j < N; ++j) {
      const A gj = g ? s.gradient_scale * static_cast<A>(gradient.at[j]) : A(0);
      const A mj = moment.at[j] += (gj - moment.at[j]) * (A(1) - s.beta1);
      const A vj = square.at[j] = s.beta2 * square.at[j] + (A(1) - s.beta2) * gj * gj;
      A before = static_cast<A>(now.at[j]);
      if (master && static_cast<A>(rounded(exact.at[j])) == before) before = exact.at[j];
      exact.at[j] = s.decay * before - s.step_size * (mj / (std::sqrt(vj) / s.second_correction + s.epsilon));
      now.at[j] = rounded(exact.at[j]);
    }
    store(m + i, moment);
    store(v + i, square);
    if (master) store(master + i, exact);
    store(x + i, now);
  }

 private:
  CALM_KERNEL static T rounded(A exact) { return narrow<T>(static_cast<Accumulator<T>>(exact)); }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void sum_of_squares(Cuda device, std::size_t n, const T* x, double* sum) {
  const Elements alone{x, n};
  sums_of_squares<T>(device, 1, &alone, sum);
}
template <class T>
void sums_of_squares(Cuda, std::size_t count, const Elements* x, double* sums) {
  for (std::size_t from = 0; from < count; from += cuda::Chunks::most) {
    cuda::Chunks chunks{};
    chunks.count = std::min(count - from, cuda::Chunks::most);
    bool packs = true;
    for (std::size_t i = 0; i < chunks.count; ++i) {
      const Elements& e = chunks.array[i] = x[from + i];
      chunks.first[i + 1] = chunks.first[i] + (e.data ? (e.size + norm_chunk - 1) / norm_chunk : 0);
      packs = packs && cuda::in_packs(e.data);
    }
    const std::size_t all = chunks.first[chunks.count];
    const cuda::Scratch<double> partial(all);
    if (packs)
      cuda::teams("sum_of_squares", all, norm_chunk, cuda::Squares<cuda::pack_width<T>, T>{chunks, partial.data()});
    else
      cuda::teams("sum_of_squares", all, norm_chunk, cuda::Squares<1, T>{chunks, partial.data()});
    cuda::teams("sum_of_squares", chunks.count, norm_chunk, cuda::SumChunks{chunks, partial.data(), sums + from});
  }
}
template <class T, class A>
void adamw(Cuda, std::size_t n, const AdamWStep<A>& s, const T* g, A* m, A* v, A* master, T* x) {
  cuda::each_pack<cuda::pack_width<A>>("adamw", n, cuda::in_packs(g, m, v, master, x),
                                       cuda::AdamW<T, A>{s, g, m, v, master, x});
}

#define CALM_OPTIMIZER(T)                                                                                             \
  template void sum_of_squares<T>(Cuda, std::size_t, const T*, double*);                                              \
  template void sums_of_squares<T>(Cuda, std::size_t, const Elements*, double*);                                      \
  template void adamw<T, double>(Cuda, std::size_t, const AdamWStep<double>&, const T*, double*, double*, double*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_OPTIMIZER)
#undef CALM_OPTIMIZER
template void adamw<float, float>(Cuda, std::size_t, const AdamWStep<float>&, const float*, float*, float*, float*,
                                  float*);
template void adamw<bf16, float>(Cuda, std::size_t, const AdamWStep<float>&, const bf16*, float*, float*, float*,
                                 bf16*);

}  // namespace calm::kernel
