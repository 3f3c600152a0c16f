/// \file  The GPU's kernels of the optimizer: one sweep per parameter, and the norm of its gradient.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/pack.cuh"

namespace calm::cuda {

/// partial[item] = Σ x² of one chunk
template <std::size_t N, class T>
struct Squares {
  std::size_t n;
  const T* x;
  double* partial;
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const std::size_t first = item * kernel::norm_chunk;
    const std::size_t some = n - first < kernel::norm_chunk ? n - first : kernel::norm_chunk;
    const double sum = team.template sum<double>(some / N, [&](std::size_t i) { return squares<N>(first + i * N); }) +
                       team.template sum<double>(some % N, [&](std::size_t i) {
                         return squares<1>(first + some / N * N + i);
                       });
    team.each(1, [&](std::size_t) { partial[item] = sum; });
  }

 private:
  template <std::size_t M>
  CALM_KERNEL double squares(std::size_t at) const {
    const auto pack = load<M>(x + at);
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
void sum_of_squares(Cuda, std::size_t n, const T* x, double* sum) {
  const std::size_t chunks = (n + norm_chunk - 1) / norm_chunk;
  const cuda::Scratch<double> partial(chunks);
  constexpr std::size_t width = cuda::pack_width<T>;
  if (cuda::in_packs(x))
    cuda::teams("sum_of_squares", chunks, norm_chunk, cuda::Squares<width, T>{n, x, partial.data()});
  else
    cuda::teams("sum_of_squares", chunks, norm_chunk, cuda::Squares<1, T>{n, x, partial.data()});
  cuda::teams("sum_of_squares", 1, chunks, cuda::SumAll{chunks, partial.data(), sum});
}
template <class T, class A>
void adamw(Cuda, std::size_t n, const AdamWStep<A>& s, const T* g, A* m, A* v, A* master, T* x) {
  cuda::each_pack<cuda::pack_width<A>>("adamw", n, cuda::in_packs(g, m, v, master, x),
                                       cuda::AdamW<T, A>{s, g, m, v, master, x});
}

#define CALM_OPTIMIZER(T)                                                                                             \
  template void sum_of_squares<T>(Cuda, std::size_t, const T*, double*);                                              \
  template void adamw<T, double>(Cuda, std::size_t, const AdamWStep<double>&, const T*, double*, double*, double*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_OPTIMIZER)
#undef CALM_OPTIMIZER
template void adamw<float, float>(Cuda, std::size_t, const AdamWStep<float>&, const float*, float*, float*, float*,
                                  float*);
template void adamw<bf16, float>(Cuda, std::size_t, const AdamWStep<float>&, const bf16*, float*, float*, float*,
                                 bf16*);

}  // namespace calm::kernel
