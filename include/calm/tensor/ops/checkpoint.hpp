/// \file  Activation checkpointing: a part of the forward pass that keeps its input alone and is computed again in the
/// backward pass (Chen et al. 2016, "Training deep nets with sublinear memory cost").
#pragma once

#include <type_traits>
#include <utility>

#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

/// Keeps the part and its input, nothing that the part computes on its way.
template <class X, class F>
struct CheckpointNode {
  X x;
  F f;

  void backward(Tape<typename ValueOf<X>::device>& tape, Slot out) {
    tape.template recompute<typename ValueOf<X>::value_type>(out, [&] { return f(x).slot; });
  }
};

/// x, on no tape.
template <Operand X>
X untaped(const X& x) {
  if constexpr (is_var<X>)
    return {x.value, nullptr, 0};
  else
    return x;
}

}  // namespace detail

/// y = f(x), of which only x and f are kept; the backward pass calls f again.   x: [...] -> what f gives
///
/// f(x) may depend on x, on parameters, and on constants that f holds: then loss and gradients have the bits that f(x)
/// alone would give them, dropout included, whose key says its mask. It costs one more forward pass of f, and spares
/// what f's operations keep but while f is in its own backward pass. A copy of f waits on the tape; what it points to
/// must live until then. Outside a recording, and where f(x) is a Tensor, it is f(x).
template <Operand X, class F>
auto checkpoint(const X& x, F f) {
  using Device = typename ValueOf<X>::device;
  using Y = std::remove_cvref_t<decltype(f(x))>;
  if constexpr (!is_var<Y>) {
    return f(x);
  } else {
    Tape<Device>* const tape = is_var<X> ? tape_of(x) : Tape<Device>::active();
    if (tape == nullptr) return f(x);
    ValueOf<Y> y;
    {
      const auto pause = Tape<Device>::pause();
      y = f(detail::untaped(x)).value;
    }
    return record(tape, std::move(y), [&] { return detail::CheckpointNode<X, F>{x, std::move(f)}; });
  }
}

}  // namespace calm
