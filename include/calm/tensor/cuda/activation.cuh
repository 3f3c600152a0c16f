/// \file  The GPU's kernels for activations, alone and as gates, and for tanh and the logistic function.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"

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

template <class T>
struct Activate {
  kernel::Activation kind;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const { y[i] = narrow<T>(value_of(kind, wide(x[i]))); }
};

template <class T>
struct ActivateBackward {
  kernel::Activation kind;
  const T *x, *dy;
  T* dx;
  CALM_KERNEL void operator()(std::size_t i) const {
    dx[i] = narrow<T>(wide(dx[i]) + slope_of(kind, wide(x[i])) * wide(dy[i]));
  }
};

template <class T>
struct Gate {
  kernel::Activation kind;
  const T *gate, *up;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const { y[i] = narrow<T>(value_of(kind, wide(gate[i])) * wide(up[i])); }
};

template <class T>
struct GateBackward {
  kernel::Activation kind;
  const T *gate, *up, *dy;
  T* dgate;
  CALM_KERNEL void operator()(std::size_t i) const {
    dgate[i] = narrow<T>(wide(dgate[i]) + slope_of(kind, wide(gate[i])) * wide(up[i]) * wide(dy[i]));
  }
};

template <class T>
struct GateBackwardUp {
  kernel::Activation kind;
  const T *gate, *dy;
  T* dup;
  CALM_KERNEL void operator()(std::size_t i) const {
    dup[i] = narrow<T>(wide(dup[i]) + value_of(kind, wide(gate[i])) * wide(dy[i]));
  }
};

template <class T>
struct Squash {
  bool is_tanh;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const {
    y[i] = narrow<T>(is_tanh ? std::tanh(wide(x[i])) : sigmoid(wide(x[i])));
  }
};

/// From the result y, which lies above `least`.
template <class T>
struct SquashBackward {
  Accumulator<T> least;
  const T *y, *dy;
  T* dx;
  CALM_KERNEL void operator()(std::size_t i) const {
    dx[i] = narrow<T>(wide(dx[i]) + (wide(y[i]) - least) * (Accumulator<T>(1) - wide(y[i])) * wide(dy[i]));
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void activate(Cuda, Activation kind, std::size_t n, const T* x, T* y) {
  cuda::each("activate", n, cuda::Activate<T>{kind, x, y});
}
template <class T>
void activate_backward(Cuda, Activation kind, std::size_t n, const T* x, const T* dy, T* dx) {
  cuda::each("activate_backward", n, cuda::ActivateBackward<T>{kind, x, dy, dx});
}
template <class T>
void gate(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, T* y) {
  cuda::each("gate", n, cuda::Gate<T>{kind, gate, up, y});
}
template <class T>
void gate_backward(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate) {
  cuda::each("gate_backward", n, cuda::GateBackward<T>{kind, gate, up, dy, dgate});
}
template <class T>
void gate_backward_up(Cuda, Activation kind, std::size_t n, const T* gate, const T* dy, T* dup) {
  cuda::each("gate_backward_up", n, cuda::GateBackwardUp<T>{kind, gate, dy, dup});
}
template <class T>
void squash(Cuda, Squash kind, std::size_t n, const T* x, T* y) {
  cuda::each("squash", n, cuda::Squash<T>{kind == Squash::tanh, x, y});
}
template <class T>
void squash_backward(Cuda, Squash kind, std::size_t n, const T* y, const T* dy, T* dx) {
  using A = Accumulator<T>;
  cuda::each("squash_backward", n, cuda::SquashBackward<T>{kind == Squash::tanh ? A(-1) : A(0), y, dy, dx});
}

#define CALM_ACTIVATION(T)                                                                       \
  template void activate<T>(Cuda, Activation, std::size_t, const T*, T*);                        \
  template void activate_backward<T>(Cuda, Activation, std::size_t, const T*, const T*, T*);     \
  template void gate<T>(Cuda, Activation, std::size_t, const T*, const T*, T*);                  \
  template void gate_backward<T>(Cuda, Activation, std::size_t, const T*, const T*, const T*, T*); \
  template void gate_backward_up<T>(Cuda, Activation, std::size_t, const T*, const T*, T*);      \
  template void squash<T>(Cuda, Squash, std::size_t, const T*, T*);                              \
  template void squash_backward<T>(Cuda, Squash, std::size_t, const T*, const T*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_ACTIVATION)
#undef CALM_ACTIVATION

}  // namespace calm::kernel
