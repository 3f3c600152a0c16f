/// \file  Softmax over the last axis.
#pragma once

#include <cstddef>
#include <utility>

#include "calm/tensor/cpu/softmax.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X>
struct SoftmaxNode {
  X y;
  Slot x_slot;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    const std::size_t rows = rows_of(y), cols = rows == 0 ? 0 : y.size() / rows;
    kernel::softmax_backward(typename X::device{}, rows, cols, y.data(), tape.template incoming<T>(out),
                             tape.template gradient<T>(x_slot));
  }
};

}  // namespace detail

/// e^x / Σ e^x along the last axis.   x: [..., F] -> [..., F]; an element of -∞ gets 0, a row of nothing else NaN
template <Operand X>
auto softmax(const X& x) {
  using In = ValueOf<X>;
  In y(value(x).shape());
  const std::size_t rows = rows_of(y), cols = rows == 0 ? 0 : y.size() / rows;
  kernel::softmax(typename In::device{}, rows, cols, value(x).data(), y.mutable_data());
  if constexpr (is_var<X>) {
    const In result = y;  // shared: the gradient is computed from the result
    return record(tape_of(x), std::move(y), [&] { return detail::SoftmaxNode<In>{result, slot_of(x)}; });
  } else {
    return y;
  }
}

}  // namespace calm
