/// \file  tanh and the logistic function, elementwise.
#pragma once

#include <utility>

#include "calm/tensor/cpu/squash.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X>
struct SquashNode {
  X y;
  Slot x_slot;
  kernel::Squash kind;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    kernel::squash_backward(typename X::device{}, kind, y.size(), y.data(), tape.template incoming<T>(out),
                            tape.template gradient<T>(x_slot));
  }
};

template <class X>
auto squashed(const X& x, kernel::Squash kind) {
  using In = ValueOf<X>;
  In y(value(x).shape());
  kernel::squash(typename In::device{}, kind, y.size(), value(x).data(), y.mutable_data());
  if constexpr (is_var<X>) {
    const In result = y;  // shared: the gradient is computed from the result
    return record(tape_of(x), std::move(y), [&] { return SquashNode<In>{result, slot_of(x), kind}; });
  } else {
    return y;
  }
}

}  // namespace detail

/// tanh x.   x: [...] -> [...]; exactly 0 at 0
template <Operand X>
auto tanh(const X& x) {
  return detail::squashed(x, kernel::Squash::tanh);
}

/// 1 / (1 + e^-x).   x: [...] -> [...]
template <Operand X>
auto sigmoid(const X& x) {
  return detail::squashed(x, kernel::Squash::sigmoid);
}

}  // namespace calm
