/// \file  The GPU's kernels of the optimizer: one sweep over many parameters, and the norms of their gradients.
#pragma once

#include <algorithm>
#include <cmath>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/pack.cuh"

namespace calm::cuda {

/// Arrays, or parameters, of `size` elements in what a launch carries by value, cut into chunks of `length` that are
/// counted through: array i has those from first[i] to first[i + 1]. A launch may carry 32 764 bytes.
template <class E>
struct Chunks {
  static constexpr std::size_t most = 128;
  std::size_t length = 0, count = 0;
  E array[most] = {};
  std::size_t first[most + 1] = {};

  void add(const E& e, bool has_elements = true) {
    array[count] = e;
    first[count + 1] = first[count] + (has_elements ? (e.size + length - 1) / length : 0);
    ++count;
  }
  std::size_t all() const { return first[count]; }

  /// Where chunk `item` is.
  struct Place {
    std::size_t array, begin, size;
  };
  CALM_KERNEL Place place(std::size_t item) const {
    const std::size_t i = array_of(item), begin = (item - first[i]) * length, left = array[i].size - begin;
    return {i, begin, left < length ? left : length};
  }

 private:
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
  Chunks<kernel::Elements> chunks;
  double* partial;
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const auto at = chunks.place(item);
    const std::size_t n = at.size;
    const T* const x = static_cast<const T*>(chunks.array[at.array].data) + at.begin;
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
  Chunks<kernel::Elements> chunks;
  const double* partial;
  double* sums;
  CALM_KERNEL void operator()(const Team& team, std::size_t i) const {
    SumAll{chunks.first[i + 1] - chunks.first[i], partial + chunks.first[i], sums + i}(team, 0);
  }
};

/// Elements of a parameter that one team of AdamW's changes.
inline constexpr std::size_t adamw_chunk = std::size_t{1} << 12;

/// As kernel::adamw of the host, in one sweep over all arrays of a chunk.
template <std::size_t N, class T, class A>
struct AdamW {
  Chunks<kernel::AdamWOperands<A>> chunks;

  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const auto at = chunks.place(item);
    const kernel::AdamWOperands<A>& p = chunks.array[at.array];
    team.each(at.size / N, [&](std::size_t j) { change<N>(p, at.begin + j * N); });
    if (at.size % N > 0) team.each(at.size % N, [&](std::size_t j) { change<1>(p, at.begin + at.size / N * N + j); });
  }

 private:
  template <std::size_t M>
  CALM_KERNEL static void change(const kernel::AdamWOperands<A>& p, std::size_t i) {
    const kernel::AdamWStep<A>& s = p.step;
    T* const x = static_cast<T*>(p.x) + i;
    auto moment = load<M>(p.m + i), square = load<M>(p.v + i);
    auto now = load<M>(x);
    Pack<T, M> gradient{};
    Pack<A, M> exact{};
    if (p.g) gradient = load<M>(static_cast<const T*>(p.g) + i);
    if (p.master) exact = load<M>(p.master + i);
    for (std::size_t j = 0; j < M; ++j) {
      const A gj = p.g ? s.gradient_scale * static_cast<A>(gradient.at[j]) : A(0);
      const A mj = moment.at[j] += (gj - moment.at[j]) * (A(1) - s.beta1);
      const A vj = square.at[j] = s.beta2 * square.at[j] + (A(1) - s.beta2) * gj * gj;
      A before = static_cast<A>(now.at[j]);
      if (p.master && static_cast<A>(rounded(exact.at[j])) == before) before = exact.at[j];
      exact.at[j] = s.decay * before - s.step_size * (mj / (std::sqrt(vj) / s.second_correction + s.epsilon));
      now.at[j] = rounded(exact.at[j]);
    }
    store(p.m + i, moment);
    store(p.v + i, square);
    if (p.master) store(p.master + i, exact);
    store(x, now);
  }
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
  using Chunks = cuda::Chunks<Elements>;
  for (std::size_t from = 0; from < count; from += Chunks::most) {
    Chunks chunks{norm_chunk};
    bool packs = true;
    for (std::size_t i = from; i < std::min(count, from + Chunks::most); ++i) {
      chunks.add(x[i], x[i].data != nullptr);
      packs = packs && cuda::in_packs(x[i].data);
    }
    const cuda::Scratch<double> partial(chunks.all());
    if (packs)
      cuda::teams("sum_of_squares", chunks.all(), norm_chunk,
                  cuda::Squares<cuda::pack_width<T>, T>{chunks, partial.data()});
    else
      cuda::teams("sum_of_squares", chunks.all(), norm_chunk, cuda::Squares<1, T>{chunks, partial.data()});
    cuda::teams("sum_of_squares", chunks.count, norm_chunk, cuda::SumChunks{chunks, partial.data(), sums + from});
  }
}
template <class T, class A>
void adamw(Cuda device, std::size_t n, const AdamWStep<A>& s, const T* g, A* m, A* v, A* master, T* x) {
  const AdamWOperands<A> alone{s, n, g, m, v, master, x};
  adamw<T>(device, 1, &alone);
}
template <class T, class A>
void adamw(Cuda, std::size_t count, const AdamWOperands<A>* list) {
  using Chunks = cuda::Chunks<AdamWOperands<A>>;
  for (std::size_t from = 0; from < count; from += Chunks::most) {
    Chunks chunks{cuda::adamw_chunk};
    bool packs = true;
    for (std::size_t i = from; i < std::min(count, from + Chunks::most); ++i) {
      const AdamWOperands<A>& p = list[i];
      chunks.add(p);
      packs = packs && cuda::in_packs(p.g, p.m, p.v, p.master, p.x);
    }
    if (packs)
      cuda::teams("adamw", chunks.all(), cuda::adamw_chunk, cuda::AdamW<cuda::pack_width<A>, T, A>{chunks});
    else
      cuda::teams("adamw", chunks.all(), cuda::adamw_chunk, cuda::AdamW<1, T, A>{chunks});
  }
}

#define CALM_ADAMW(T, A)                                                                             \
  template void adamw<T, A>(Cuda, std::size_t, const AdamWStep<A>&, const T*, A*, A*, A*, T*);       \
  template void adamw<T, A>(Cuda, std::size_t, const AdamWOperands<A>*);
#define CALM_OPTIMIZER(T)                                                                            \
  template void sum_of_squares<T>(Cuda, std::size_t, const T*, double*);                             \
  template void sums_of_squares<T>(Cuda, std::size_t, const Elements*, double*);                     \
  CALM_ADAMW(T, double)
CALM_FOR_COMPUTE_TYPES(CALM_OPTIMIZER)
CALM_ADAMW(float, float)
CALM_ADAMW(bf16, float)
#undef CALM_OPTIMIZER
#undef CALM_ADAMW

}  // namespace calm::kernel
