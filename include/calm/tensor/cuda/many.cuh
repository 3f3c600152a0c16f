/// \file  The GPU's kernels over several arrays at once: mixes, sums in any order, softmax across arrays.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"

namespace calm::cuda {

/// A list of arrays, in what a launch carries by value.
template <class Pointer>
struct Arrays {
  std::size_t n;
  Pointer at[kernel::most_arrays];

  Arrays(std::size_t count, const Pointer* list) : n(count), at{} { std::copy_n(list, count, at); }
};

/// p = softmax(w), by one thread: they are few
template <class T>
struct MixShares {
  std::size_t n;
  const T* w;
  Accumulator<T>* p;
  CALM_KERNEL void operator()(std::size_t) const {
    using A = Accumulator<T>;
    A most = wide(w[0]), sum = 0;
    for (std::size_t j = 1; j < n; ++j) most = wide(w[j]) > most ? wide(w[j]) : most;
    for (std::size_t j = 0; j < n; ++j) sum += p[j] = std::exp(wide(w[j]) - most);
    for (std::size_t j = 0; j < n; ++j) p[j] /= sum;
  }
};

template <class T>
struct Mix {
  Arrays<const T*> x;
  const Accumulator<T>* p;
  T* z;
  CALM_KERNEL void operator()(std::size_t i) const {
    Accumulator<T> total = 0;
    for (std::size_t j = 0; j < x.n; ++j) total += p[j] * wide(x.at[j][i]);
    z[i] = narrow<T>(total);
  }
};

template <class T>
struct MixBackward {
  Arrays<T*> dx;
  const Accumulator<T>* p;
  const T* dz;
  CALM_KERNEL void operator()(std::size_t i) const {
    for (std::size_t j = 0; j < dx.n; ++j) dx.at[j][i] = narrow<T>(wide(dx.at[j][i]) + p[j] * wide(dz[i]));
  }
};

/// Elements whose products one team adds up.
inline constexpr std::size_t mix_part = std::size_t{1} << 14;

/// parts[j, part] = Σ dz[i] · x_j[i] over one part
template <class T>
struct MixDots {
  Arrays<const T*> x;
  std::size_t size, parts;
  const T* dz;
  Accumulator<T>* dot;
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    using A = Accumulator<T>;
    const std::size_t j = item / parts, first = item % parts * mix_part;
    const std::size_t n = size - first < mix_part ? size - first : mix_part;
    const T* from = x.at[j];
    const A sum = team.template sum<A>(n, [&](std::size_t i) { return wide(dz[first + i]) * wide(from[first + i]); });
    team.each(1, [&](std::size_t) { dot[item] = sum; });
  }
};

/// dw[j] += p[j] · (g[j] - Σ_k p[k] · g[k]), g[j] = Σ of its parts
template <class T>
struct MixWeights {
  std::size_t n, parts;
  const Accumulator<T>*p, *dot;
  T* dw;
  CALM_KERNEL Accumulator<T> sum(std::size_t j) const {
    Accumulator<T> total = 0;
    for (std::size_t part = 0; part < parts; ++part) total += dot[j * parts + part];
    return total;
  }
  CALM_KERNEL void operator()(std::size_t j) const {
    Accumulator<T> mean = 0;
    for (std::size_t k = 0; k < n; ++k) mean += p[k] * sum(k);
    dw[j] = narrow<T>(wide(dw[j]) + p[j] * (sum(j) - mean));
  }
};

/// The numbers of one place, in ascending order; exchanges and never chooses, so a NaN stays among them.
template <class A>
CALM_KERNEL void sort_numbers(std::size_t n, A* v) {
  for (std::size_t i = 1; i < n; ++i) {
    for (std::size_t j = i; j > 0; --j) {
      const A a = v[j - 1], b = v[j];
      v[j - 1] = b < a ? b : a;
      v[j] = b < a ? a : b;
    }
  }
}

template <class T>
struct SymmetricSum {
  Arrays<const T*> x;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const {
    Accumulator<T> v[kernel::most_arrays];
    for (std::size_t j = 0; j < x.n; ++j) v[j] = wide(x.at[j][i]);
    if (x.n > 2) sort_numbers(x.n, v);
    for (std::size_t j = 1; j < x.n; ++j) v[0] += v[j];
    y[i] = narrow<T>(v[0]);
  }
};

/// The shares of one place: weight[j] of score j, weight[n] of the null score (tensor/cpu/share.hpp).
template <class T>
CALM_KERNEL void shares_at(const Arrays<const T*>& scores, const T* null, std::size_t cols, std::size_t i,
                           Accumulator<T>* weight) {
  using A = Accumulator<T>;
  const std::size_t n = scores.n;
  A sorted[kernel::most_arrays];
  weight[n] = null ? wide(null[i % cols]) : -std::numeric_limits<A>::infinity();
  A top = weight[n] > std::numeric_limits<A>::lowest() ? weight[n] : std::numeric_limits<A>::lowest();
  for (std::size_t j = 0; j < n; ++j) {
    weight[j] = wide(scores.at[j][i]);
    top = weight[j] > top ? weight[j] : top;
  }
  for (std::size_t j = 0; j <= n; ++j) weight[j] = std::exp(weight[j] - top);
  for (std::size_t j = 0; j < n; ++j) sorted[j] = weight[j];
  sort_numbers(n, sorted);
  A sum = weight[n];
  for (std::size_t j = 0; j < n; ++j) sum += sorted[j];
  for (std::size_t j = 0; j <= n; ++j) weight[j] = sum == A(0) ? A(0) : weight[j] / sum;
}

template <class T>
struct Share {
  Arrays<const T*> scores;
  const T* null;
  std::size_t cols, which;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const {
    Accumulator<T> weight[kernel::most_arrays + 1];
    shares_at(scores, null, cols, i, weight);
    y[i] = narrow<T>(weight[which]);
  }
};

template <class T>
struct ShareBackward {
  Arrays<const T*> scores;
  const T* null;
  std::size_t cols, which;
  const T* dy;
  Arrays<T*> d_scores;  ///< as many as scores, or none
  T* d_null;
  CALM_KERNEL void operator()(std::size_t i) const {
    using A = Accumulator<T>;
    A weight[kernel::most_arrays + 1];
    shares_at(scores, null, cols, i, weight);
    const A g = wide(dy[i]) * weight[which];
    for (std::size_t j = 0; j < d_scores.n; ++j) {
      T& to = d_scores.at[j][i];
      to = narrow<T>(wide(to) + g * ((j == which ? A(1) : A(0)) - weight[j]));
    }
    if (d_null) d_null[i] = narrow<T>(-g * weight[scores.n]);
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void mix_weights(Cuda, std::size_t n, const T* w, Accumulator<T>* p) {
  cuda::each("mix_weights", 1, cuda::MixShares<T>{n, w, p});
}
template <class T>
void mix(Cuda, std::size_t n, std::size_t size, const T* const* x, const Accumulator<T>* p, T* z) {
  cuda::each("mix", size, cuda::Mix<T>{{n, x}, p, z});
}
template <class T>
void mix_backward(Cuda, std::size_t n, std::size_t size, const Accumulator<T>* p, const T* dz, T* const* dx) {
  cuda::each("mix_backward", size, cuda::MixBackward<T>{{n, dx}, p, dz});
}
template <class T>
void mix_weights_backward(Cuda, std::size_t n, std::size_t size, const T* const* x, const Accumulator<T>* p,
                          const T* dz, T* dw) {
  const std::size_t parts = (size + cuda::mix_part - 1) / cuda::mix_part;
  const cuda::Scratch<Accumulator<T>> dots(n * parts);
  cuda::teams("mix_weights_backward", n * parts, cuda::mix_part,
              cuda::MixDots<T>{{n, x}, size, parts, dz, dots.data()});
  cuda::each("mix_weights_backward", n, cuda::MixWeights<T>{n, parts, p, dots.data(), dw});
}
template <class T>
void symmetric_sum(Cuda, std::size_t n, std::size_t size, const T* const* x, T* y) {
  cuda::each("symmetric_sum", size, cuda::SymmetricSum<T>{{n, x}, y});
}
template <class T>
void share(Cuda, const Rivals<T>& r, std::size_t i, T* y) {
  cuda::each("share", r.size, cuda::Share<T>{{r.n, r.scores}, r.null, r.cols, i, y});
}
template <class T>
void share_backward(Cuda, const Rivals<T>& r, std::size_t i, const T* dy, T* const* d_scores, T* d_null) {
  cuda::each("share_backward", r.size,
             cuda::ShareBackward<T>{{r.n, r.scores}, r.null, r.cols, i, dy, {d_scores ? r.n : 0, d_scores}, d_null});
}

#define CALM_MANY(T)                                                                                                  \
  template void mix_weights<T>(Cuda, std::size_t, const T*, Accumulator<T>*);                                         \
  template void mix<T>(Cuda, std::size_t, std::size_t, const T* const*, const Accumulator<T>*, T*);                   \
  template void mix_backward<T>(Cuda, std::size_t, std::size_t, const Accumulator<T>*, const T*, T* const*);          \
  template void mix_weights_backward<T>(Cuda, std::size_t, std::size_t, const T* const*, const Accumulator<T>*,       \
                                        const T*, T*);                                                                \
  template void symmetric_sum<T>(Cuda, std::size_t, std::size_t, const T* const*, T*);                                \
  template void share<T>(Cuda, const Rivals<T>&, std::size_t, T*);                                                    \
  template void share_backward<T>(Cuda, const Rivals<T>&, std::size_t, const T*, T* const*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_MANY)
#undef CALM_MANY

}  // namespace calm::kernel
