/// \file  The GPU's kernels for activations, alone and as gates, and for tanh and the logistic function.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/pack.cuh"

namespace calm::cuda {

template <class A>
CALM_KERNEL A sigmoid(A x) {
  return A(1) / (A(1) + std::exp(-x));
}

/// An activation's value and slope; the formulas of tensor/cpu/activation.hpp.
template <class A>
CALM_KERNEL A value_of(kernel::Activation kind, A x) {
  switch (kind) {
    case kernel::Activation::silu: return x * sigmoid(x);
    case kernel::Activation::gelu: return x * (A(0.5) * std::erfc(x * A(-0.70710678118654752)));
    default: return x * sigmoid(A(1.5957691216057308) * (x + A(0.044715) * x * x * x));
  }
}
template <class A>
CALM_KERNEL A slope_of(kernel::Activation kind, A x) {
  switch (kind) {
    case kernel::Activation::silu: {
      const A s = sigmoid(x);
      return s + x * s * (A(1) - s);
    }
    case kernel::Activation::gelu:
      return A(0.5) * std::erfc(x * A(-0.70710678118654752)) + x * A(0.39894228040143268) * std::exp(A(-0.5) * x * x);
    default: {
      const A s = sigmoid(A(1.5957691216057308) * (x + A(0.044715) * x * x * x));
      return s + x * s * (A(1) - s) * A(1.5957691216057308) * (A(1) + A(0.134145) * x * x);
    }
  }
}

/// What the kernels below compute of each element; `A` is the type of sums.
template <class A>
struct Activate {
  kernel::Activation kind;
  CALM_KERNEL A operator()(A x) const { return value_of(kind, x); }
};
template <class A>
struct ActivateBackward {
  kernel::Activation kind;
  CALM_KERNEL A operator()(A x, A dy) const { return slope_of(kind, x) * dy; }
};
template <class A>
struct Gate {
  kernel::Activation kind;
  CALM_KERNEL A operator()(A gate, A up) const { return value_of(kind, gate) * up; }
};
template <class A>
struct GateBackward {
  kernel::Activation kind;
  CALM_KERNEL A operator()(A gate, A up, A dy) const { return slope_of(kind, gate) * up * dy; }
};
/// dgate (+)= slope(gate) · up · dy, dup (+)= value(gate) · dy
template <class T>
struct GateBackwardBoth {
  kernel::Activation kind;
  const T *gate, *up, *dy;
  T* dgate;
  bool adds_gate;
  T* dup;
  bool adds_up;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    const auto g = load<N>(gate + i), u = load<N>(up + i), d = load<N>(dy + i);
    Pack<Accumulator<T>, N> slope, value;
    for (std::size_t j = 0; j < N; ++j) {
      slope.at[j] = slope_of(kind, wide(g.at[j])) * wide(u.at[j]) * wide(d.at[j]);
      value.at[j] = value_of(kind, wide(g.at[j])) * wide(d.at[j]);
    }
    store(dgate + i, slope, adds_gate);
    store(dup + i, value, adds_up);
  }
};

/// y = value(gate) · up, where each row of `both` is one of `cols` gates and `cols` numbers to be gated.
template <class T>
struct GatePairs {
  kernel::Activation kind;
  std::size_t cols;
  const T* both;
  T* y;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    const std::size_t first = i + i / cols * cols;
    const auto g = load<N>(both + first), u = load<N>(both + first + cols);
    Pack<T, N> gated;
    for (std::size_t j = 0; j < N; ++j) gated.at[j] = narrow<T>(value_of(kind, wide(g.at[j])) * wide(u.at[j]));
    store(y + i, gated);
  }
};
template <class T>
struct GatePairsBackward {
  kernel::Activation kind;
  std::size_t cols;
  const T *both, *dy;
  T* dboth;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    const std::size_t first = i + i / cols * cols;
    const auto g = load<N>(both + first), u = load<N>(both + first + cols), d = load<N>(dy + i);
    Pack<T, N> dgate, dup;
    for (std::size_t j = 0; j < N; ++j) {
      dgate.at[j] = narrow<T>(slope_of(kind, wide(g.at[j])) * wide(u.at[j]) * wide(d.at[j]));
      dup.at[j] = narrow<T>(value_of(kind, wide(g.at[j])) * wide(d.at[j]));
    }
    store(dboth + first, dgate);
    store(dboth + first + cols, dup);
  }
};

template <class A>
struct Squash {
  bool is_tanh;
  CALM_KERNEL A operator()(A x) const { return is_tanh ? std::tanh(x) : sigmoid(x); }
};
/// From the result y, which lies above `least`.
template <class A>
struct SquashBackward {
  A least;
  CALM_KERNEL A operator()(A y, A dy) const { return (y - least) * (A(1) - y) * dy; }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void activate(Cuda, Activation kind, std::size_t n, const T* x, T* y) {
  cuda::map<false>("activate", n, y, cuda::Activate<Accumulator<T>>{kind}, {{x}});
}
template <class T>
void activate_backward(Cuda, Activation kind, std::size_t n, const T* x, const T* dy, T* dx, bool add) {
  const cuda::ActivateBackward<Accumulator<T>> slope{kind};
  if (add)
    cuda::map<true>("activate_backward", n, dx, slope, {{x}, {dy}});
  else
    cuda::map<false>("activate_backward", n, dx, slope, {{x}, {dy}});
}
template <class T>
void gate(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, T* y) {
  cuda::map<false>("gate", n, y, cuda::Gate<Accumulator<T>>{kind}, {{gate}, {up}});
}
template <class T>
void gate_backward(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate) {
  cuda::map<true>("gate_backward", n, dgate, cuda::GateBackward<Accumulator<T>>{kind}, {{gate}, {up}, {dy}});
}
template <class T>
void gate_backward(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate,
                   bool adds_gate, T* dup, bool adds_up) {
  cuda::each_pack<cuda::pack_width<T>>(
      "gate_backward", n, cuda::in_packs(gate, up, dy, dgate, dup),
      cuda::GateBackwardBoth<T>{kind, gate, up, dy, dgate, adds_gate, dup, adds_up});
}
template <class T>
void gate_backward_up(Cuda, Activation kind, std::size_t n, const T* gate, const T* dy, T* dup) {
  cuda::map<true>("gate_backward_up", n, dup, cuda::Gate<Accumulator<T>>{kind}, {{gate}, {dy}});
}
template <class T>
void gate_pairs(Cuda, Activation kind, std::size_t rows, std::size_t cols, const T* both, T* y) {
  constexpr std::size_t width = cuda::pack_width<T>;
  cuda::each_pack<width>("gate_pairs", rows * cols, cuda::in_packs(both, y) && cols % width == 0,
                         cuda::GatePairs<T>{kind, cols, both, y});
}
template <class T>
void gate_pairs_backward(Cuda, Activation kind, std::size_t rows, std::size_t cols, const T* both, const T* dy,
                         T* dboth) {
  constexpr std::size_t width = cuda::pack_width<T>;
  cuda::each_pack<width>("gate_pairs_backward", rows * cols, cuda::in_packs(both, dy, dboth) && cols % width == 0,
                         cuda::GatePairsBackward<T>{kind, cols, both, dy, dboth});
}
template <class T>
void squash(Cuda, Squash kind, std::size_t n, const T* x, T* y) {
  cuda::map<false>("squash", n, y, cuda::Squash<Accumulator<T>>{kind == Squash::tanh}, {{x}});
}
template <class T>
void squash_backward(Cuda, Squash kind, std::size_t n, const T* y, const T* dy, T* dx) {
  using A = Accumulator<T>;
  cuda::map<true>("squash_backward", n, dx, cuda::SquashBackward<A>{kind == Squash::tanh ? A(-1) : A(0)},
                  {{y}, {dy}});
}

#define CALM_ACTIVATION(T)                                                                       \
  template void activate<T>(Cuda, Activation, std::size_t, const T*, T*);                        \
  template void activate_backward<T>(Cuda, Activation, std::size_t, const T*, const T*, T*, bool); \
  template void gate<T>(Cuda, Activation, std::size_t, const T*, const T*, T*);                  \
  template void gate_backward<T>(Cuda, Activation, std::size_t, const T*, const T*, const T*, T*); \
  template void gate_backward<T>(Cuda, Activation, std::size_t, const T*, const T*, const T*, T*, bool, T*, bool);  \
  template void gate_backward_up<T>(Cuda, Activation, std::size_t, const T*, const T*, T*);      \
  template void gate_pairs<T>(Cuda, Activation, std::size_t, std::size_t, const T*, T*);         \
  template void gate_pairs_backward<T>(Cuda, Activation, std::size_t, std::size_t, const T*, const T*, T*);         \
  template void squash<T>(Cuda, Squash, std::size_t, const T*, T*);                              \
  template void squash_backward<T>(Cuda, Squash, std::size_t, const T*, const T*, T*);
CALM_FOR_PRODUCT_TYPES(CALM_ACTIVATION)
#undef CALM_ACTIVATION

}  // namespace calm::kernel
