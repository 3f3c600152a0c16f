/// \file  Gated activations: act(gate) · up in one pass.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// Whether `gate` can gate `up`: one type of tensor.
template <class Gate, class Up>
concept Gateable = Operand<Gate> && Operand<Up> && std::is_same_v<ValueOf<Gate>, ValueOf<Up>>;

namespace detail {

template <class X, bool NeedGate, bool NeedUp>
struct GatedNode {
  X gate;
  [[no_unique_address]] KeepIf<NeedGate, X, 0> up;
  [[no_unique_address]] KeepIf<NeedGate, Slot, 1> gate_slot;
  [[no_unique_address]] KeepIf<NeedUp, Slot, 2> up_slot;
  kernel::Activation kind;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    typename X::device device;
    const T* dy = tape.template incoming<T>(out);
    if constexpr (NeedGate && NeedUp) {
      const auto dgate = tape.template target<T>(gate_slot), dup = tape.template target<T>(up_slot);
      kernel::gate_backward(device, kind, gate.size(), gate.data(), up.data(), dy, dgate.data, dgate.adds, dup.data,
                            dup.adds);
    } else {
      if constexpr (NeedGate) {
        kernel::gate_backward(device, kind, gate.size(), gate.data(), up.data(), dy,
                              tape.template gradient<T>(gate_slot));
      }
      if constexpr (NeedUp) {
        kernel::gate_backward_up(device, kind, gate.size(), gate.data(), dy, tape.template gradient<T>(up_slot));
      }
    }
  }
};

template <class Gate, class Up>
auto gated(const char* name, const Gate& gate, const Up& up, kernel::Activation kind) {
  using In = ValueOf<Gate>;
  require(value(gate).shape() == value(up).shape(), [&] {
    return std::string("calm::") + name + ": dynamic extents differ: the gate has " +
           std::to_string(value(gate).size()) + " elements, the other operand " + std::to_string(value(up).size());
  });
  In y(value(gate).shape());
  kernel::gate(typename In::device{}, kind, y.size(), value(gate).data(), value(up).data(), y.mutable_data());
  if constexpr (is_var<Gate> || is_var<Up>) {
    using Node = GatedNode<In, is_var<Gate>, is_var<Up>>;
    return record(tape_of(gate, up), std::move(y), [&] {
      return Node{value(gate), decltype(Node::up)(value(up)), decltype(Node::gate_slot)(slot_of(gate)),
                  decltype(Node::up_slot)(slot_of(up)), kind};
    });
  } else {
    return y;
  }
}

}  // namespace detail

/// silu(gate) · up.   Both: [...] -> [...]   (Shazeer 2020, eq. 5)
template <Operand Gate, Operand Up>
auto swiglu(const Gate& gate, const Up& up) {
  static_assert(Gateable<Gate, Up>, "calm::swiglu: the gate and the other operand have different axes or types");
  if constexpr (Gateable<Gate, Up>) return detail::gated("swiglu", gate, up, kernel::Activation::silu);
}

/// gelu_tanh(gate) · up, as Gemma has it.   Both: [...] -> [...]   (Shazeer 2020, eq. 5)
template <Operand Gate, Operand Up>
auto geglu(const Gate& gate, const Up& up) {
  static_assert(Gateable<Gate, Up>, "calm::geglu: the gate and the other operand have different axes or types");
  if constexpr (Gateable<Gate, Up>) return detail::gated("geglu", gate, up, kernel::Activation::gelu_tanh);
}

/// gelu(gate) · up, with the exact GELU.   Both: [...] -> [...]   (Shazeer 2020, eq. 5)
template <Operand Gate, Operand Up>
auto geglu_exact(const Gate& gate, const Up& up) {
  static_assert(Gateable<Gate, Up>, "calm::geglu_exact: the gate and the other operand have different axes or types");
  if constexpr (Gateable<Gate, Up>) return detail::gated("geglu_exact", gate, up, kernel::Activation::gelu);
}

}  // namespace calm
