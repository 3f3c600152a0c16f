/// \file  Host kernels for root-mean-square and layer normalisation over rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/cast.hpp"  // store_row
#include "calm/tensor/cpu/sum.hpp"

namespace calm::kernel {

namespace detail {

/// Calls f(scale), scale(c) being weight[c] + offset or, without a weight, 1: two types, so that both loops vectorise.
template <class T, class F>
void with_scale(const T* weight, Accumulator<T> offset, const F& f) {
  if (weight)
    f([=](std::size_t c) { return Accumulator<T>(weight[c]) + offset; });
  else
    f([](std::size_t) { return Accumulator<T>(1); });
}

/// Calls f(old), old(i) being what stood at `before`[i], or 0 if that is null.
template <class A, class T, class F>
void with_old(const T* before, const F& f) {
  if (before)
    f([=](std::size_t i) { return A(before[i]); });
  else
    f([](std::size_t) { return A(0); });
}

/// Row r of a norm's operand; of a sum, it is made here.
template <class T>
const T* norm_row(const NormOperand<T>& x, std::size_t r, std::size_t cols) {
  using A = Accumulator<T>;
  const T* xr = x.x + r * cols;
  if (!x.residual) return xr;
  const T* residual = x.residual + r * cols;
  T* sum = x.sum + r * cols;
  for (std::size_t c = 0; c < cols; ++c) sum[c] = static_cast<T>(A(xr[c]) + A(residual[c]));
  return sum;
}

}  // namespace detail

/// y[r, c] = x[r, c] · s[r] · (weight[c] + offset), s[r] = 1 / sqrt(mean_c x[r, c]² + eps). Without a weight (null) the
/// last factor is 1; s is stored in `inverse_rms`, and x in `kept`, unless these are null.
template <class T, class Kept = T>
void rms_norm(Cpu, std::size_t rows, std::size_t cols, std::type_identity_t<NormOperand<T>> x, const T* weight,
              Accumulator<T> offset, double eps, T* y, Accumulator<T>* inverse_rms, Kept* kept = nullptr) {
  using A = Accumulator<T>;
  detail::with_scale(weight, offset, [=](auto scale) {
    parallel_ranges(rows, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        const T* xr = detail::norm_row(x, r, cols);
        T* yr = y + r * cols;
        const A squares = detail::sum_of<A>(cols, [=](std::size_t c) { return A(xr[c]) * A(xr[c]); });
        const A s = 1 / std::sqrt(squares / static_cast<A>(cols) + static_cast<A>(eps));
        if (inverse_rms) inverse_rms[r] = s;
        if (kept) detail::store_row(cols, xr, kept + r * cols);
        for (std::size_t c = 0; c < cols; ++c) yr[c] = static_cast<T>(A(xr[c]) * s * scale(c));
      }
    });
  });
}

/// dx[r, c] = s · (g[c] - x[r, c] · s² · mean_k g[k] · x[r, k]) (+ before[r, c] unless that is null), g = dy[r] ·
/// (weight + offset), s = inverse_rms[r]; before may be dx
template <class T, class Kept>
void rms_norm_backward(Cpu, std::size_t rows, std::size_t cols, const Kept* x, const T* weight, Accumulator<T> offset,
                       const Accumulator<T>* inverse_rms, const T* dy, T* dx, const std::type_identity_t<T>* before) {
  using A = Accumulator<T>;
  const auto run = [=](auto scale, auto old) {
    parallel_ranges(rows, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        const Kept* xr = x + r * cols;
        const T* dyr = dy + r * cols;
        T* dxr = dx + r * cols;
        const A s = inverse_rms[r];
        const A dot = detail::sum_of<A>(cols, [=](std::size_t c) { return A(dyr[c]) * scale(c) * A(xr[c]); });
        const A pull = dot * s * s / static_cast<A>(cols);
        for (std::size_t c = 0; c < cols; ++c) {
          dxr[c] = static_cast<T>(old(r * cols + c) + s * (A(dyr[c]) * scale(c) - A(xr[c]) * pull));
        }
      }
    });
  };
  detail::with_scale(weight, offset, [&](auto scale) {
    detail::with_old<A>(before, [&](auto old) { run(scale, old); });
  });
}

/// y[r, c] = (x[r, c] - mean[r]) · s[r] · weight[c] + bias[c], s[r] = 1 / sqrt(variance[r] + eps), the variance being
/// the mean squared distance from the mean. `statistics` (or null) takes all means, then all s.
template <class T>
void layer_norm(Cpu, std::size_t rows, std::size_t cols, std::type_identity_t<NormOperand<T>> x, const T* weight,
                const T* bias, double eps, T* y, Accumulator<T>* statistics) {
  using A = Accumulator<T>;
  parallel_ranges(rows, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const T* xr = detail::norm_row(x, r, cols);
      T* yr = y + r * cols;
      const A mean = detail::sum_of<A>(cols, [=](std::size_t c) { return A(xr[c]); }) / static_cast<A>(cols);
      const A squares = detail::sum_of<A>(cols, [=](std::size_t c) { return (A(xr[c]) - mean) * (A(xr[c]) - mean); });
      const A s = 1 / std::sqrt(squares / static_cast<A>(cols) + static_cast<A>(eps));
      if (statistics) {
        statistics[r] = mean;
        statistics[rows + r] = s;
      }
      for (std::size_t c = 0; c < cols; ++c) {
        yr[c] = static_cast<T>((A(xr[c]) - mean) * s * A(weight[c]) + A(bias[c]));
      }
    }
  });
}

/// dx[r, c] = s · (g[c] - mean_k g[k] - n[c] · mean_k g[k] · n[k]) (+ before[r, c] unless that is null),
/// g = dy[r] · weight, n = (x[r] - mean[r]) · s; before may be dx
template <class T>
void layer_norm_backward(Cpu, std::size_t rows, std::size_t cols, const T* x, const T* weight,
                         const Accumulator<T>* statistics, const T* dy, T* dx, const std::type_identity_t<T>* before) {
  using A = Accumulator<T>;
  const auto run = [=](auto old, std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const T *xr = x + r * cols, *dyr = dy + r * cols;
      T* dxr = dx + r * cols;
      const A mean = statistics[r], s = statistics[rows + r], n = static_cast<A>(cols);
      const auto [sum, dot] = detail::sums_of<A>(
          cols, [=](std::size_t c) { return A(dyr[c]) * A(weight[c]); },
          [=](std::size_t c) { return A(dyr[c]) * A(weight[c]) * (A(xr[c]) - mean) * s; });
      const A shift = sum / n, pull = dot / n;
      for (std::size_t c = 0; c < cols; ++c) {
        const A normal = (A(xr[c]) - mean) * s;
        dxr[c] = static_cast<T>(old(r * cols + c) + s * (A(dyr[c]) * A(weight[c]) - shift - normal * pull));
      }
    }
  };
  parallel_ranges(rows, detail::rows_per_thread(cols), [&](std::size_t begin, std::size_t end) {
    detail::with_old<A>(before, [&](auto old) { run(old, begin, end); });
  });
}

/// dweight[c] += Σ_r dy[r, c] · (x[r, c] - mean[r]) · s[r], the rows in order; `mean` null: 0
template <class T>
void norm_weight_gradient(Cpu, std::size_t rows, std::size_t cols, const T* x, const Accumulator<T>* mean,
                          const Accumulator<T>* s, const T* dy, T* dweight) {
  using A = Accumulator<T>;
  constexpr std::size_t width = 64;  // columns that a thread adds up at a time
  const std::size_t blocks = (cols + width - 1) / width;
  parallel_ranges(blocks, (1 << 15) / (rows * width + 1) + 1, [=](std::size_t begin, std::size_t end) {
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t c0 = block * width, n = std::min(width, cols - c0);
      A total[width] = {};
      for (std::size_t r = 0; r < rows; ++r) {
        const T *xr = x + r * cols + c0, *dyr = dy + r * cols + c0;
        const A m = mean ? mean[r] : 0;
        for (std::size_t c = 0; c < n; ++c) total[c] += A(dyr[c]) * (A(xr[c]) - m) * s[r];
      }
      for (std::size_t c = 0; c < n; ++c) dweight[c0 + c] = static_cast<T>(A(dweight[c0 + c]) + total[c]);
    }
  });
}

}  // namespace calm::kernel
