/// \file  Host kernels for activations, alone and as gates.
#pragma once

#include <cmath>
#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/memory.hpp"  // fill
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/cpu/sum.hpp"  // with_before
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

/// x · sigmoid(x)
struct Silu {
  template <class A>
  static A value(A x) {
    return x * sigmoid(x);
  }
  template <class A>
  static A slope(A x) {
    const A s = sigmoid(x);
    return s + x * s * (1 - s);
  }
};

/// x · Φ(x), Φ the normal distribution; by erfc, which keeps its digits where Φ is small
struct Gelu {
  template <class A>
  static A below(A x) {
    return A(0.5) * std::erfc(x * A(-0.70710678118654752));
  }
  template <class A>
  static A value(A x) {
    return x * below(x);
  }
  template <class A>
  static A slope(A x) {
    return below(x) + x * A(0.39894228040143268) * fast_exp(A(-0.5) * x * x);
  }
};

/// x/2 · (1 + tanh u) = x · sigmoid(2u), u = sqrt(2/π) · (x + 0.044715 x³)
struct GeluTanh {
  template <class A>
  static A gate(A x) {
    return sigmoid(A(1.5957691216057308) * (x + A(0.044715) * x * x * x));
  }
  template <class A>
  static A value(A x) {
    return x * gate(x);
  }
  template <class A>
  static A slope(A x) {
    const A s = gate(x);
    return s + x * s * (1 - s) * A(1.5957691216057308) * (1 + A(0.134145) * x * x);
  }
};

template <class F>
void with_activation(Activation kind, const F& f) {
  switch (kind) {
    case Activation::silu: return f(Silu{});
    case Activation::gelu: return f(Gelu{});
    case Activation::gelu_tanh: return f(GeluTanh{});
  }
}

/// Calls f(i) for i in [0, n), cut among threads.
template <class F>
void each(std::size_t n, const F& f) {
  parallel_ranges(n, 1 << 13, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) f(i);
  });
}

}  // namespace detail

/// y = act(x)
template <class T>
void activate(Cpu, Activation kind, std::size_t n, const T* x, T* y) {
  using A = Accumulator<T>;
  detail::with_activation(kind, [=](auto act) {
    detail::each(n, [=](std::size_t i) { y[i] = static_cast<T>(act.value(A(x[i]))); });
  });
}

/// dx = act'(x) · dy (+ dx if `add`); dx may be dy
template <class T>
void activate_backward(Cpu, Activation kind, std::size_t n, const T* x, const T* dy, T* dx, bool add = true) {
  using A = Accumulator<T>;
  detail::with_activation(kind, [=](auto act) {
    detail::with_before<A>(add, [=](auto before) {
      detail::each(n, [=](std::size_t i) { dx[i] = static_cast<T>(before(dx[i]) + act.slope(A(x[i])) * A(dy[i])); });
    });
  });
}

/// y = act(gate) · up
template <class T>
void gate(Cpu, Activation kind, std::size_t n, const T* gate, const T* up, T* y) {
  using A = Accumulator<T>;
  detail::with_activation(kind, [=](auto act) {
    detail::each(n, [=](std::size_t i) { y[i] = static_cast<T>(act.value(A(gate[i])) * A(up[i])); });
  });
}

/// dgate += act'(gate) · up · dy
template <class T>
void gate_backward(Cpu, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate) {
  using A = Accumulator<T>;
  detail::with_activation(kind, [=](auto act) {
    detail::each(n, [=](std::size_t i) {
      dgate[i] = static_cast<T>(A(dgate[i]) + act.slope(A(gate[i])) * A(up[i]) * A(dy[i]));
    });
  });
}

/// Both of the above and below in one pass; each is added to what stands there, or written.
template <class T>
void gate_backward(Cpu device, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate,
                   bool adds_gate, T* dup, bool adds_up) {
  using A = Accumulator<T>;
  const bool add = adds_gate || adds_up;
  if (add && !adds_gate) fill(device, n, T{}, dgate);
  if (add && !adds_up) fill(device, n, T{}, dup);
  detail::with_activation(kind, [=](auto act) {
    detail::with_before<A>(add, [=](auto before) {
      detail::each(n, [=](std::size_t i) {
        const A g = A(gate[i]), d = A(dy[i]);
        dgate[i] = static_cast<T>(before(dgate[i]) + act.slope(g) * A(up[i]) * d);
        dup[i] = static_cast<T>(before(dup[i]) + act.value(g) * d);  // which may be one operand, so in this order
      });
    });
  });
}

/// y = act(gate) · up, where each row of `both` is one of `cols` gates and `cols` numbers to be gated
template <class T>
void gate_pairs(Cpu, Activation kind, std::size_t rows, std::size_t cols, const T* both, T* y) {
  using A = Accumulator<T>;
  detail::with_activation(kind, [=](auto act) {
    detail::each(rows * cols, [=](std::size_t i) {
      const T* gate = both + i + i / cols * cols;
      y[i] = static_cast<T>(act.value(A(gate[0])) * A(gate[cols]));
    });
  });
}

/// Both gradients of that, written; dboth may be both.
template <class T>
void gate_pairs_backward(Cpu, Activation kind, std::size_t rows, std::size_t cols, const T* both, const T* dy,
                         T* dboth) {
  using A = Accumulator<T>;
  detail::with_activation(kind, [=](auto act) {
    detail::each(rows * cols, [=](std::size_t i) {
      const std::size_t at = i + i / cols * cols;
      const A gate = A(both[at]), up = A(both[at + cols]);
      dboth[at] = static_cast<T>(act.slope(gate) * up * A(dy[i]));
      dboth[at + cols] = static_cast<T>(act.value(gate) * A(dy[i]));
    });
  });
}

/// dup += act(gate) · dy
template <class T>
void gate_backward_up(Cpu, Activation kind, std::size_t n, const T* gate, const T* dy, T* dup) {
  using A = Accumulator<T>;
  detail::with_activation(kind, [=](auto act) {
    detail::each(n, [=](std::size_t i) { dup[i] = static_cast<T>(A(dup[i]) + act.value(A(gate[i])) * A(dy[i])); });
  });
}

}  // namespace calm::kernel
