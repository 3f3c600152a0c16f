/// \file  The GPU's kernels of the optimizer: one sweep per parameter, and the norm of its gradient.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"

namespace calm::cuda {

/// partial[item] = Σ x² of one chunk
template <class T>
struct Squares {
  std::size_t n;
  const T* x;
  double* partial;
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const std::size_t first = item * kernel::norm_chunk;
    const std::size_t some = n - first < kernel::norm_chunk ? n - first : kernel::norm_chunk;
    const double sum = team.template sum<double>(some, [&](std::size_t i) {
      const auto value = static_cast<double>(x[first + i]);
      return value * value;
    });
    team.each(1, [&](std::size_t) { partial[item] = sum; });
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

/// As kernel::adamw of the host.
template <class T, class A>
struct AdamW {
  kernel::AdamWStep<A> s;
  const T* g;
  A *m, *v, *master;
  T* x;
  CALM_KERNEL void operator()(std::size_t i) const {
    const A gi = g ? s.gradient_scale * static_cast<A>(g[i]) : A(0);
    const A mi = m[i] + (gi - m[i]) * (A(1) - s.beta1);
    const A vi = s.beta2 * v[i] + (A(1) - s.beta2) * gi * gi;
    m[i] = mi;
    v[i] = vi;
    A now = static_cast<A>(x[i]);
    if (master && rounded(master[i]) == now) now = master[i];
    const A changed = s.decay * now - s.step_size * (mi / (std::sqrt(vi) / s.second_correction + s.epsilon));
    if (master) master[i] = changed;
    x[i] = static_cast<T>(static_cast<Accumulator<T>>(changed));
  }

 private:
  CALM_KERNEL static A rounded(A exact) { return static_cast<A>(static_cast<T>(static_cast<Accumulator<T>>(exact))); }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
double sum_of_squares(Cuda device, std::size_t n, const T* x, double*) {
  if (n == 0) return 0;
  const std::size_t chunks = (n + norm_chunk - 1) / norm_chunk;
  const cuda::Scratch<double> partial(chunks + 1);
  double* const all = partial.data() + chunks;
  cuda::teams("sum_of_squares", chunks, norm_chunk, cuda::Squares<T>{n, x, partial.data()});
  cuda::teams("sum_of_squares", 1, chunks, cuda::SumAll{chunks, partial.data(), all});
  double sum = 0;
  copy_to_host(device, sizeof(double), all, &sum);
  return sum;
}
template <class T, class A>
void adamw(Cuda, std::size_t n, const AdamWStep<A>& s, const T* g, A* m, A* v, A* master, T* x) {
  cuda::each("adamw", n, cuda::AdamW<T, A>{s, g, m, v, master, x});
}

#define CALM_OPTIMIZER(T)                                                                                             \
  template double sum_of_squares<T>(Cuda, std::size_t, const T*, double*);                                            \
  template void adamw<T, double>(Cuda, std::size_t, const AdamWStep<double>&, const T*, double*, double*, double*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_OPTIMIZER)
#undef CALM_OPTIMIZER
template void adamw<float, float>(Cuda, std::size_t, const AdamWStep<float>&, const float*, float*, float*, float*,
                                  float*);
template void adamw<bf16, float>(Cuda, std::size_t, const AdamWStep<float>&, const bf16*, float*, float*, float*,
                                 bf16*);

}  // namespace calm::kernel
