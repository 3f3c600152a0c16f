/// \file  Neighbouring elements that are loaded and stored at once, 16 bytes where that is possible.
#pragma once

#include <cstddef>
#include <cstdint>

#include "calm/tensor/cuda/grid.cuh"

namespace calm::cuda {

/// N neighbouring elements.
template <class T, std::size_t N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T at[N];
};

/// Elements of 16 bytes: what one instruction reads.
template <class T>
inline constexpr std::size_t pack_width = 16 / sizeof(T);

template <std::size_t N, class T>
CALM_KERNEL Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <std::size_t N, class T>
CALM_KERNEL void store(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

/// In the type of sums.
template <class T, std::size_t N>
CALM_KERNEL Pack<Accumulator<T>, N> wide(const Pack<T, N>& pack) {
  Pack<Accumulator<T>, N> x;
  for (std::size_t j = 0; j < N; ++j) x.at[j] = wide(pack.at[j]);
  return x;
}
/// to = x, or to += x
template <class T, std::size_t N>
CALM_KERNEL void store(T* to, Pack<Accumulator<T>, N> x, bool add) {
  if (add) {
    const auto before = load<N>(to);
    for (std::size_t j = 0; j < N; ++j) x.at[j] += wide(before.at[j]);
  }
  Pack<T, N> pack;
  for (std::size_t j = 0; j < N; ++j) pack.at[j] = narrow<T>(x.at[j]);
  store(to, pack);
}

/// to = x, or before + x
template <class T, std::size_t N>
CALM_KERNEL void store_sum(T* to, Pack<Accumulator<T>, N> x, const T* before) {
  if (before) {
    const auto old = load<N>(before);
    for (std::size_t j = 0; j < N; ++j) x.at[j] += wide(old.at[j]);
  }
  store(to, x, false);
}

/// Whether packs may be read at all of these, which may be null.
template <class... P>
bool in_packs(const P*... data) {
  return ((reinterpret_cast<std::uintptr_t>(data) | ...) & 15) == 0;
}

/// Index i of `F` stands for N elements, and for what is left of them at the end: f.at<N>(first).
template <std::size_t N, class F>
struct Packs {
  std::size_t n;
  F f;
  CALM_KERNEL void operator()(std::size_t i) const {
    if ((i + 1) * N <= n) {
      f.template at<N>(i * N);
    } else {
      for (std::size_t at = i * N; at < n; ++at) f.template at<1>(at);
    }
  }
};

/// f.at<W>(i) for elements i, i + 1, … of [0, n), W = N of them at a time if `packs`, else one by one.
template <std::size_t N, class F>
void each_pack(const char* kernel, std::size_t n, bool packs, const F& f) {
  if (packs)
    each(kernel, (n + N - 1) / N, Packs<N, F>{n, f});
  else
    each(kernel, n, Packs<1, F>{n, f});
}

/// An operand of `map`: x[i], or x[i mod period] where there is one.
template <class T>
struct Input {
  const T* x;
  std::size_t period = 0;
  CALM_KERNEL const T* at(std::size_t i) const { return x + (period ? i % period : i); }
};

/// y = f(x...), or y += f(x...)
template <class T, bool Add, class F, std::size_t M>
struct Map {
  F f;
  T* y;
  Input<T> x[M];

  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    Pack<T, N> in[M];
    for (std::size_t m = 0; m < M; ++m) in[m] = load<N>(x[m].at(i));
    Pack<Accumulator<T>, N> out;
    for (std::size_t j = 0; j < N; ++j) out.at[j] = value(in, j);
    store(y + i, out, Add);
  }

 private:
  template <std::size_t N>
  CALM_KERNEL Accumulator<T> value(const Pack<T, N> (&in)[M], std::size_t j) const {
    if constexpr (M == 1) return f(wide(in[0].at[j]));
    else if constexpr (M == 2) return f(wide(in[0].at[j]), wide(in[1].at[j]));
    else return f(wide(in[0].at[j]), wide(in[1].at[j]), wide(in[2].at[j]));
  }
};

/// y[i] = f(x[i]...), or y[i] += f(x[i]...) if `Add`, for i in [0, n).
template <bool Add, class T, class F, std::size_t M>
void map(const char* kernel, std::size_t n, T* y, const F& f, const Input<T> (&x)[M]) {
  constexpr std::size_t width = pack_width<T>;
  bool packs = in_packs(y);
  Map<T, Add, F, M> run{f, y, {}};
  for (std::size_t m = 0; m < M; ++m) {
    run.x[m] = x[m];
    packs = packs && in_packs(x[m].x) && x[m].period % width == 0;
  }
  each_pack<width>(kernel, n, packs, run);
}

}  // namespace calm::cuda
