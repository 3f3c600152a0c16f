/// \file  The GPU's kernels for softmax and normalisation over rows: a team for each row.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/pack.cuh"
#include "calm/tensor/cuda/sums.cuh"

namespace calm::cuda {

/// Σ f(c) over the first elements c of a row's packs.
template <std::size_t N, class A, class F>
CALM_KERNEL A sum_of_row(const Team& team, std::size_t cols, const F& f) {
  return team.template sum<A>(cols / N, [&](std::size_t i) { return f(i * N); });
}

template <std::size_t N, class T>
struct Softmax {
  std::size_t cols;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const T* from = x + r * cols;
    T* to = y + r * cols;
    const auto all = team.template max_sum<A>(cols, [&](std::size_t c) { return wide(from[c]); });
    team.each(cols / N, [&](std::size_t i) {
      auto pack = load<N>(from + i * N);
      for (T& v : pack.at) v = narrow<T>(std::exp(wide(v) - all.most) / all.sum);
      store(to + i * N, pack);
    });
  }
};

template <std::size_t N, class T>
struct SoftmaxBackward {
  std::size_t cols;
  const T *y, *dy;
  T* dx;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const std::size_t at = r * cols;
    const A dot = sum_of_row<N, A>(team, cols, [&](std::size_t c) {
      const auto p = load<N>(y + at + c), g = load<N>(dy + at + c);
      A part = 0;
      for (std::size_t j = 0; j < N; ++j) part += wide(p.at[j]) * wide(g.at[j]);
      return part;
    });
    team.each(cols / N, [&](std::size_t i) {
      const auto p = load<N>(y + at + i * N), g = load<N>(dy + at + i * N);
      Pack<A, N> d;
      for (std::size_t j = 0; j < N; ++j) d.at[j] = wide(p.at[j]) * (wide(g.at[j]) - dot);
      store(dx + at + i * N, d, true);
    });
  }
};

/// What a norm multiplies by: weight[c] + offset; without a weight (null) 1
template <class T>
struct NormScale {
  const T* weight;
  Accumulator<T> offset;

  /// Of elements c, c + 1, …
  template <std::size_t N>
  CALM_KERNEL Pack<Accumulator<T>, N> of(std::size_t c) const {
    Pack<Accumulator<T>, N> scale;
    for (auto& s : scale.at) s = 1;
    if (weight) {
      const auto w = load<N>(weight + c);
      for (std::size_t j = 0; j < N; ++j) scale.at[j] = wide(w.at[j]) + offset;
    }
    return scale;
  }
};

/// A row of what a norm normalises.
template <class T>
struct NormRow {
  const T *x, *residual;
  T* sum;
  CALM_KERNEL NormRow(const kernel::NormOperand<T>& all, std::size_t at)
      : x(all.x + at),
        residual(all.residual ? all.residual + at : nullptr),
        sum(all.residual ? all.sum + at : nullptr) {}

  /// Elements c, c + 1, …, when they are read for the first time; of a sum, they are made here.
  template <std::size_t N>
  CALM_KERNEL Pack<T, N> first(std::size_t c) const {
    auto pack = load<N>(x + c);
    if (residual) {
      const auto other = load<N>(residual + c);
      for (std::size_t j = 0; j < N; ++j) pack.at[j] = narrow<T>(wide(pack.at[j]) + wide(other.at[j]));
      store(sum + c, pack);
    }
    return pack;
  }
  template <std::size_t N>
  CALM_KERNEL Pack<T, N> again(std::size_t c) const {
    return load<N>((residual ? sum : x) + c);
  }
};

/// The second reading of a row finds it in the cache, so memory is passed over once.
template <std::size_t N, class T>
struct RmsNorm {
  std::size_t cols;
  kernel::NormOperand<T> x;
  NormScale<T> scale;
  Accumulator<T> eps;
  T* y;
  Accumulator<T>* inverse_rms;  ///< may be null
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const NormRow<T> row(x, r * cols);
    const A squares = sum_of_row<N, A>(team, cols, [&](std::size_t c) {
      A part = 0;
      for (const T& v : row.template first<N>(c).at) part += wide(v) * wide(v);
      return part;
    });
    const A s = A(1) / std::sqrt(squares / static_cast<A>(cols) + eps);
    if (inverse_rms) team.each(1, [&](std::size_t) { inverse_rms[r] = s; });
    team.each(cols / N, [&](std::size_t i) {
      auto pack = row.template again<N>(i * N);
      const auto by = scale.template of<N>(i * N);
      for (std::size_t j = 0; j < N; ++j) pack.at[j] = narrow<T>(wide(pack.at[j]) * s * by.at[j]);
      store(y + r * cols + i * N, pack);
    });
  }
};

template <std::size_t N, class T>
struct RmsNormBackward {
  std::size_t cols;
  const T* x;
  NormScale<T> scale;
  const Accumulator<T>* inverse_rms;
  const T* dy;
  T* dx;
  const T* before;  ///< null: nothing is added
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const std::size_t at = r * cols;
    const A s = inverse_rms[r];
    const A dot = sum_of_row<N, A>(team, cols, [&](std::size_t c) {
      const auto v = load<N>(x + at + c), g = load<N>(dy + at + c);
      const auto by = scale.template of<N>(c);
      A part = 0;
      for (std::size_t j = 0; j < N; ++j) part += wide(g.at[j]) * by.at[j] * wide(v.at[j]);
      return part;
    });
    const A pull = dot * s * s / static_cast<A>(cols);
    team.each(cols / N, [&](std::size_t i) {
      const std::size_t c = i * N;
      const auto v = load<N>(x + at + c), g = load<N>(dy + at + c);
      const auto by = scale.template of<N>(c);
      Pack<A, N> d;
      for (std::size_t j = 0; j < N; ++j) {
        d.at[j] = s * (wide(g.at[j]) * by.at[j] - wide(v.at[j]) * pull);
      }
      store_sum(dx + at + c, d, before ? before + at + c : nullptr);
    });
  }
};

template <std::size_t N, class T>
struct LayerNorm {
  std::size_t rows, cols;
  kernel::NormOperand<T> x;
  const T *weight, *bias;
  Accumulator<T> eps;
  T* y;
  Accumulator<T>* statistics;  ///< may be null
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const NormRow<T> row(x, r * cols);
    const A n = static_cast<A>(cols);
    const A mean = sum_of_row<N, A>(team, cols, [&](std::size_t c) {
      A part = 0;
      for (const T& v : row.template first<N>(c).at) part += wide(v);
      return part;
    }) / n;
    const A squares = sum_of_row<N, A>(team, cols, [&](std::size_t c) {
      A part = 0;
      for (const T& v : row.template again<N>(c).at) part += (wide(v) - mean) * (wide(v) - mean);
      return part;
    });
    const A s = A(1) / std::sqrt(squares / n + eps);
    if (statistics) {
      team.each(1, [&](std::size_t) {
        statistics[r] = mean;
        statistics[rows + r] = s;
      });
    }
    team.each(cols / N, [&](std::size_t i) {
      auto pack = row.template again<N>(i * N);
      const auto w = load<N>(weight + i * N), b = load<N>(bias + i * N);
      for (std::size_t j = 0; j < N; ++j) {
        pack.at[j] = narrow<T>((wide(pack.at[j]) - mean) * s * wide(w.at[j]) + wide(b.at[j]));
      }
      store(y + r * cols + i * N, pack);
    });
  }
};

template <std::size_t N, class T>
struct LayerNormBackward {
  std::size_t rows, cols;
  const T *x, *weight;
  const Accumulator<T>* statistics;
  const T* dy;
  T* dx;
  const T* before;  ///< null: nothing is added
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const std::size_t at = r * cols;
    const A mean = statistics[r], s = statistics[rows + r], n = static_cast<A>(cols);
    const A sum = sum_of_row<N, A>(team, cols, [&](std::size_t c) {
      const auto g = load<N>(dy + at + c), w = load<N>(weight + c);
      A part = 0;
      for (std::size_t j = 0; j < N; ++j) part += wide(g.at[j]) * wide(w.at[j]);
      return part;
    });
    const A dot = sum_of_row<N, A>(team, cols, [&](std::size_t c) {
      const auto v = load<N>(x + at + c), g = load<N>(dy + at + c), w = load<N>(weight + c);
      A part = 0;
      for (std::size_t j = 0; j < N; ++j) part += wide(g.at[j]) * wide(w.at[j]) * (wide(v.at[j]) - mean) * s;
      return part;
    });
    team.each(cols / N, [&](std::size_t i) {
      const std::size_t c = i * N;
      const auto v = load<N>(x + at + c), g = load<N>(dy + at + c), w = load<N>(weight + c);
      Pack<A, N> d;
      for (std::size_t j = 0; j < N; ++j) {
        const A normal = (wide(v.at[j]) - mean) * s;
        d.at[j] = s * (wide(g.at[j]) * wide(w.at[j]) - (sum + normal * dot) / n);
      }
      store_sum(dx + at + c, d, before ? before + at + c : nullptr);
    });
  }
};

/// F<N, T>{arguments...} over rows of `cols`, N as many as come in a pack if rows do at all.
template <template <std::size_t, class> class F, class T, class... X>
void over_rows(const char* kernel, std::size_t rows, std::size_t cols, bool packs, const X&... arguments) {
  constexpr std::size_t width = pack_width<T>;
  if (packs && cols % width == 0)
    teams(kernel, rows, cols / width, F<width, T>{arguments...});
  else
    teams(kernel, rows, cols, F<1, T>{arguments...});
}

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
  cuda::over_rows<cuda::Softmax, T>("softmax", rows, cols, cuda::in_packs(x, y), cols, x, y);
}
template <class T>
void softmax_backward(Cuda, std::size_t rows, std::size_t cols, const T* y, const T* dy, T* dx) {
  cuda::over_rows<cuda::SoftmaxBackward, T>("softmax_backward", rows, cols, cuda::in_packs(y, dy, dx), cols, y, dy, dx);
}
template <class T>
void rms_norm(Cuda, std::size_t rows, std::size_t cols, std::type_identity_t<NormOperand<T>> x, const T* weight,
              Accumulator<T> offset, double eps, T* y, Accumulator<T>* inverse_rms) {
  cuda::over_rows<cuda::RmsNorm, T>("rms_norm", rows, cols, cuda::in_packs(x.x, x.residual, x.sum, weight, y), cols, x,
                                    cuda::NormScale<T>{weight, offset}, static_cast<Accumulator<T>>(eps), y,
                                    inverse_rms);
}
template <class T>
void rms_norm_backward(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight, Accumulator<T> offset,
                       const Accumulator<T>* inverse_rms, const T* dy, T* dx, const std::type_identity_t<T>* before) {
  cuda::over_rows<cuda::RmsNormBackward, T>("rms_norm_backward", rows, cols, cuda::in_packs(x, weight, dy, dx, before),
                                            cols, x, cuda::NormScale<T>{weight, offset}, inverse_rms, dy, dx, before);
}
template <class T>
void layer_norm(Cuda, std::size_t rows, std::size_t cols, std::type_identity_t<NormOperand<T>> x, const T* weight,
                const T* bias, double eps, T* y, Accumulator<T>* statistics) {
  cuda::over_rows<cuda::LayerNorm, T>("layer_norm", rows, cols, cuda::in_packs(x.x, x.residual, x.sum, weight, bias, y),
                                      rows, cols, x, weight, bias, static_cast<Accumulator<T>>(eps), y, statistics);
}
template <class T>
void layer_norm_backward(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight,
                         const Accumulator<T>* statistics, const T* dy, T* dx, const std::type_identity_t<T>* before) {
  cuda::over_rows<cuda::LayerNormBackward, T>("layer_norm_backward", rows, cols,
                                              cuda::in_packs(x, weight, dy, dx, before), rows, cols, x, weight,
                                              statistics, dy, dx, before);
}
template <class T>
void norm_weight_gradient(Cuda, std::size_t rows, std::size_t cols, const T* x, const Accumulator<T>* mean,
                          const Accumulator<T>* s, const T* dy, T* dweight) {
  cuda::add_columns("norm_weight_gradient", rows, cols, cuda::NormWeightTerm<T>{cols, x, mean, s, dy}, dweight);
}

#define CALM_ROWS(T)                                                                                                  \
  template void softmax<T>(Cuda, std::size_t, std::size_t, const T*, T*);                                             \
  template void softmax_backward<T>(Cuda, std::size_t, std::size_t, const T*, const T*, T*);                          \
  template void rms_norm<T>(Cuda, std::size_t, std::size_t, NormOperand<T>, const T*, Accumulator<T>, double, T*,     \
                            Accumulator<T>*);                                                                         \
  template void rms_norm_backward<T>(Cuda, std::size_t, std::size_t, const T*, const T*, Accumulator<T>,              \
                                     const Accumulator<T>*, const T*, T*, const T*);                                  \
  template void layer_norm<T>(Cuda, std::size_t, std::size_t, NormOperand<T>, const T*, const T*, double, T*,         \
                              Accumulator<T>*);                                                                       \
  template void layer_norm_backward<T>(Cuda, std::size_t, std::size_t, const T*, const T*, const Accumulator<T>*,     \
                                       const T*, T*, const T*);                                                       \
  template void norm_weight_gradient<T>(Cuda, std::size_t, std::size_t, const T*, const Accumulator<T>*,              \
                                        const Accumulator<T>*, const T*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_ROWS)
#undef CALM_ROWS

}  // namespace calm::kernel
