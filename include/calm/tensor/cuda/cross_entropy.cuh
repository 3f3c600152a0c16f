/// \file  The GPU's cross-entropy fused with the projection to the vocabulary, some rows of logits at a time.
#pragma once

#include <algorithm>
#include <cmath>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/mirror.hpp"
#include "calm/tensor/cuda/rows.cuh"

namespace calm::cuda {

/// loss[r] = log Σ_c e^z[r, c] - z[r, wanted[r]] with z = cap · tanh(logits / cap), or the logits where cap = 0; with
/// `gradient` (or null) also that of the logits, times `factor`. Memory of the logits is read twice.
template <std::size_t N, class T>
struct CrossEntropy {
  using A = Accumulator<T>;
  std::size_t cols;
  const Index* wanted;
  A factor, cap;
  const A* logits;
  T* gradient;
  double* loss;

  CALM_KERNEL A bounded(A x) const { return cap > 0 ? cap * std::tanh(x / cap) : x; }
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    const A* x = logits + r * cols;
    const auto target = static_cast<std::size_t>(wanted[r]);
    const auto all = team.template max_sum<A>(cols, [&](std::size_t c) { return bounded(x[c]); });
    team.each(1, [&](std::size_t) {
      loss[r] = std::log(static_cast<double>(all.sum)) - static_cast<double>(bounded(x[target]) - all.most);
    });
    if (gradient == nullptr) return;
    team.each(cols / N, [&](std::size_t i) { put(x, i * N, target, all, r); });
  }

 private:
  CALM_KERNEL void put(const A* x, std::size_t first, std::size_t target, const MaxSum<A>& all, std::size_t r) const {
    const auto logit = load<N>(x + first);
    Pack<T, N> pack;
    for (std::size_t j = 0; j < N; ++j) {
      const A z = bounded(logit.at[j]);
      A g = std::exp(z - all.most) * (factor / all.sum);
      if (first + j == target) g -= factor;
      if (cap > 0) g *= (A(1) - z / cap) * (A(1) + z / cap);
      pack.at[j] = narrow<T>(g);
    }
    store(gradient + r * cols + first, pack);
  }
};

/// mean = Σ loss[r] / count
template <class T>
struct MeanLoss {
  std::size_t count;
  const double* loss;
  T* mean;
  CALM_KERNEL void operator()(const Team& team, std::size_t) const {
    const double sum = team.template sum<double>(count, [&](std::size_t r) { return loss[r]; });
    team.each(1, [&](std::size_t) {
      *mean = narrow<T>(static_cast<Accumulator<T>>(sum / static_cast<double>(count)));
    });
  }
};

/// dx[rows[i]] = d[i]; no row is met twice
template <class T>
struct SetRows {
  std::size_t cols;
  const Index* rows;
  const T* d;
  T* dx;
  CALM_KERNEL void operator()(std::size_t at) const {
    dx[static_cast<std::size_t>(rows[at / cols]) * cols + at % cols] = d[at];
  }
};

/// Rows of logits that stand in memory at a time: up to 1 GiB, so that the products are large, and in whole tiles of
/// theirs.
inline std::size_t logit_rows(std::size_t vocab, std::size_t element) {
  constexpr std::size_t tile = 256;
  return std::clamp<std::size_t>((std::size_t{1} << 30) / (vocab * element) / tile, 1, 256) * tile;
}

}  // namespace calm::cuda

namespace calm::kernel {

template <class T, class R>
void linear_cross_entropy(Cuda device, std::size_t count, std::size_t width, std::size_t vocab, const Index* rows,
                          const Index* wanted, const T* x, const T* w, R* dx, Accumulator<T>* dw, double cap, R* loss) {
  using A = Accumulator<T>;
  const bool gradient = dx || dw;
  rows = cuda::near(rows);
  wanted = cuda::near(wanted);
  const std::size_t chunk = std::min(count, cuda::logit_rows(vocab, sizeof(A)));
  const cuda::Scratch<A> logits(chunk * vocab);
  const cuda::Scratch<T> d_logits(gradient ? chunk * vocab : 1), x_rows(chunk * width);
  const cuda::Scratch<R> dx_rows(dx ? chunk * width : 1);
  const cuda::Scratch<double> losses(count);
  for (std::size_t r0 = 0; r0 < count; r0 += chunk) {
    const std::size_t n = std::min(chunk, count - r0);
    take_rows(device, n, width, 0, rows + r0, x, x_rows.data());
    gemm(device, Op::none, Op::transpose, n, vocab, width, A(1), MatrixRef<const T>{x_rows.data(), width},
         MatrixRef<const T>{w, width}, false, MatrixRef<A>{logits.data(), vocab});
    cuda::over_rows<cuda::CrossEntropy, T>(
        "cross_entropy", n, vocab, true, vocab, wanted + r0, A(1) / static_cast<A>(count), static_cast<A>(cap),
        static_cast<const A*>(logits.data()), gradient ? d_logits.data() : nullptr, losses.data() + r0);
    if (dx) {
      gemm(device, Op::none, Op::none, n, width, vocab, A(1), MatrixRef<const T>{d_logits.data(), vocab},
           MatrixRef<const T>{w, width}, false, MatrixRef<R>{dx_rows.data(), width});
      cuda::each("cross_entropy", n * width, cuda::SetRows<R>{width, rows + r0, dx_rows.data(), dx});
    }
    if (dw) {
      gemm(device, Op::transpose, Op::none, vocab, width, n, A(1), MatrixRef<const T>{d_logits.data(), vocab},
           MatrixRef<const T>{x_rows.data(), width}, true, MatrixRef<A>{dw, width});
    }
  }
  cuda::teams("cross_entropy", 1, count, cuda::MeanLoss<R>{count, losses.data(), loss});
}

#define CALM_CROSS_ENTROPY(T, R)                                                                                    \
  template void linear_cross_entropy<T, R>(Cuda, std::size_t, std::size_t, std::size_t, const Index*, const Index*, \
                                           const T*, const T*, R*, Accumulator<T>*, double, R*);
CALM_CROSS_ENTROPY(float, float)
CALM_CROSS_ENTROPY(double, double)
CALM_CROSS_ENTROPY(bf16, bf16)
CALM_CROSS_ENTROPY(bf16, float)
#undef CALM_CROSS_ENTROPY

}  // namespace calm::kernel
