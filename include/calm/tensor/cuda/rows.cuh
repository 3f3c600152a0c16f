/// \file  The GPU's kernels for softmax and normalisation over rows: a team for each row.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/sums.cuh"

namespace calm::cuda {

template <class T>
struct Softmax {
  std::size_t cols;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const T* from = x + r * cols;
    T* to = y + r * cols;
    const A most = team.template max<A>(cols, [&](std::size_t c) { return wide(from[c]); });
    const A sum = team.template sum<A>(cols, [&](std::size_t c) { return std::exp(wide(from[c]) - most); });
    team.each(cols, [&](std::size_t c) { to[c] = narrow<T>(std::exp(wide(from[c]) - most) / sum); });
  }
};

template <class T>
struct SoftmaxBackward {
  std::size_t cols;
  const T *y, *dy;
  T* dx;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const std::size_t at = r * cols;
    const A dot = team.template sum<A>(cols, [&](std::size_t c) { return wide(y[at + c]) * wide(dy[at + c]); });
    team.each(cols, [&](std::size_t c) {
      dx[at + c] = narrow<T>(wide(dx[at + c]) + wide(y[at + c]) * (wide(dy[at + c]) - dot));
    });
  }
};

/// What a norm multiplies by: weight[c] + offset; without a weight (null) 1
template <class T>
struct NormScale {
  const T* weight;
  Accumulator<T> offset;
  CALM_KERNEL Accumulator<T> operator()(std::size_t c) const { return weight ? wide(weight[c]) + offset : 1; }
};

template <class T>
struct RmsNorm {
  std::size_t cols;
  const T* x;
  NormScale<T> scale;
  Accumulator<T> eps;
  T* y;
  Accumulator<T>* inverse_rms;  ///< may be null
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const T* from = x + r * cols;
    T* to = y + r * cols;
    const A squares = team.template sum<A>(cols, [&](std::size_t c) { return wide(from[c]) * wide(from[c]); });
    const A s = A(1) / std::sqrt(squares / static_cast<A>(cols) + eps);
    if (inverse_rms) team.each(1, [&](std::size_t) { inverse_rms[r] = s; });
    team.each(cols, [&](std::size_t c) { to[c] = narrow<T>(wide(from[c]) * s * scale(c)); });
  }
};

template <class T>
struct RmsNormBackward {
  std::size_t cols;
  const T* x;
  NormScale<T> scale;
  const Accumulator<T>* inverse_rms;
  const T* dy;
  T* dx;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const std::size_t at = r * cols;
    const A s = inverse_rms[r];
    const A dot = team.template sum<A>(
        cols, [&](std::size_t c) { return wide(dy[at + c]) * scale(c) * wide(x[at + c]); });
    const A pull = dot * s * s / static_cast<A>(cols);
    team.each(cols, [&](std::size_t c) {
      dx[at + c] = narrow<T>(wide(dx[at + c]) + s * (wide(dy[at + c]) * scale(c) - wide(x[at + c]) * pull));
    });
  }
};

template <class T>
struct LayerNorm {
  std::size_t rows, cols;
  const T *x, *weight, *bias;
  Accumulator<T> eps;
  T* y;
  Accumulator<T>* statistics;  ///< may be null
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const T* from = x + r * cols;
    T* to = y + r * cols;
    const A n = static_cast<A>(cols);
    const A mean = team.template sum<A>(cols, [&](std::size_t c) { return wide(from[c]); }) / n;
    const A squares = team.template sum<A>(
        cols, [&](std::size_t c) { return (wide(from[c]) - mean) * (wide(from[c]) - mean); });
    const A s = A(1) / std::sqrt(squares / n + eps);
    if (statistics) {
      team.each(1, [&](std::size_t) {
        statistics[r] = mean;
        statistics[rows + r] = s;
      });
    }
    team.each(cols, [&](std::size_t c) {
      to[c] = narrow<T>((wide(from[c]) - mean) * s * wide(weight[c]) + wide(bias[c]));
    });
  }
};

template <class T>
struct LayerNormBackward {
  std::size_t rows, cols;
  const T *x, *weight;
  const Accumulator<T>* statistics;
  const T* dy;
  T* dx;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const std::size_t at = r * cols;
    const A mean = statistics[r], s = statistics[rows + r], n = static_cast<A>(cols);
    const A sum = team.template sum<A>(cols, [&](std::size_t c) { return wide(dy[at + c]) * wide(weight[c]); });
    const A dot = team.template sum<A>(cols, [&](std::size_t c) {
      return wide(dy[at + c]) * wide(weight[c]) * (wide(x[at + c]) - mean) * s;
    });
    team.each(cols, [&](std::size_t c) {
      const A normal = (wide(x[at + c]) - mean) * s;
      const A own = wide(dy[at + c]) * wide(weight[c]) - (sum + normal * dot) / n;
      dx[at + c] = narrow<T>(wide(dx[at + c]) + s * own);
    });
  }
};

/// What a row adds to a norm's weight gradient.
template <class T>
struct NormWeightTerm {
  std::size_t cols;
  const T* x;
  const Accumulator<T>*mean, *s;
  const T* dy;
  CALM_KERNEL Accumulator<T> operator()(std::size_t r, std::size_t c) const {
    const Accumulator<T> m = mean ? mean[r] : 0;
    return wide(dy[r * cols + c]) * (wide(x[r * cols + c]) - m) * s[r];
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void softmax(Cuda, std::size_t rows, std::size_t cols, const T* x, T* y) {
  cuda::teams("softmax", rows, cols, cuda::Softmax<T>{cols, x, y});
}
template <class T>
void softmax_backward(Cuda, std::size_t rows, std::size_t cols, const T* y, const T* dy, T* dx) {
  cuda::teams("softmax_backward", rows, cols, cuda::SoftmaxBackward<T>{cols, y, dy, dx});
}
template <class T>
void rms_norm(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight, Accumulator<T> offset, double eps,
              T* y, Accumulator<T>* inverse_rms) {
  const auto e = static_cast<Accumulator<T>>(eps);
  cuda::teams("rms_norm", rows, cols, cuda::RmsNorm<T>{cols, x, {weight, offset}, e, y, inverse_rms});
}
template <class T>
void rms_norm_backward(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight, Accumulator<T> offset,
                       const Accumulator<T>* inverse_rms, const T* dy, T* dx) {
  cuda::teams("rms_norm_backward", rows, cols,
              cuda::RmsNormBackward<T>{cols, x, {weight, offset}, inverse_rms, dy, dx});
}
template <class T>
void layer_norm(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight, const T* bias, double eps, T* y,
                Accumulator<T>* statistics) {
  const auto e = static_cast<Accumulator<T>>(eps);
  cuda::teams("layer_norm", rows, cols, cuda::LayerNorm<T>{rows, cols, x, weight, bias, e, y, statistics});
}
template <class T>
void layer_norm_backward(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight,
                         const Accumulator<T>* statistics, const T* dy, T* dx) {
  cuda::teams("layer_norm_backward", rows, cols,
              cuda::LayerNormBackward<T>{rows, cols, x, weight, statistics, dy, dx});
}
template <class T>
void norm_weight_gradient(Cuda, std::size_t rows, std::size_t cols, const T* x, const Accumulator<T>* mean,
                          const Accumulator<T>* s, const T* dy, T* dweight) {
  cuda::add_columns("norm_weight_gradient", rows, cols, cuda::NormWeightTerm<T>{cols, x, mean, s, dy}, dweight);
}

#define CALM_ROWS(T)                                                                                                  \
  template void softmax<T>(Cuda, std::size_t, std::size_t, const T*, T*);                                             \
  template void softmax_backward<T>(Cuda, std::size_t, std::size_t, const T*, const T*, T*);                          \
  template void rms_norm<T>(Cuda, std::size_t, std::size_t, const T*, const T*, Accumulator<T>, double, T*,           \
                            Accumulator<T>*);                                                                         \
  template void rms_norm_backward<T>(Cuda, std::size_t, std::size_t, const T*, const T*, Accumulator<T>,              \
                                     const Accumulator<T>*, const T*, T*);                                            \
  template void layer_norm<T>(Cuda, std::size_t, std::size_t, const T*, const T*, const T*, double, T*,               \
                              Accumulator<T>*);                                                                       \
  template void layer_norm_backward<T>(Cuda, std::size_t, std::size_t, const T*, const T*, const Accumulator<T>*,     \
                                       const T*, T*);                                                                 \
  template void norm_weight_gradient<T>(Cuda, std::size_t, std::size_t, const T*, const Accumulator<T>*,              \
                                        const Accumulator<T>*, const T*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_ROWS)
#undef CALM_ROWS

}  // namespace calm::kernel
