/// \file  SiLU and the two GELUs.
#pragma once

#include <utility>

#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X>
struct ActivationNode {
  X x;
  Slot x_slot;
  kernel::Activation kind;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    kernel::activate_backward(typename X::device{}, kind, x.size(), x.data(), tape.template incoming<T>(out),
                              tape.template gradient<T>(x_slot));
  }
};

template <class X>
auto activated(const X& x, kernel::Activation kind) {
  using In = ValueOf<X>;
  In y(value(x).shape());
  kernel::activate(typename In::device{}, kind, y.size(), value(x).data(), y.mutable_data());
  if constexpr (is_var<X>)
    return record(tape_of(x), std::move(y), [&] { return ActivationNode<In>{value(x), slot_of(x), kind}; });
  else
    return y;
}

}  // namespace detail

/// x · sigmoid(x), also called swish.   x: [...] -> [...]   (Elfwing et al. 2017)
template <Operand X>
auto silu(const X& x) {
  return detail::activated(x, kernel::Activation::silu);
}

/// x · Φ(x) with the normal distribution Φ, exactly (by erf).   x: [...] -> [...]   (Hendrycks and Gimpel 2016, sec. 2)
template <Operand X>
auto gelu(const X& x) {
  return detail::activated(x, kernel::Activation::gelu);
}

/// x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³))), the GELU of GPT-2 and Gemma.   x: [...] -> [...]
template <Operand X>
auto gelu_tanh(const X& x) {
  return detail::activated(x, kernel::Activation::gelu_tanh);
}

}  // namespace calm
