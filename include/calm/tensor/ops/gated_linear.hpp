/// \file  The gate and what it gates as one product of frozen weights.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// Whether `second` stands in memory right behind `first`: two matrices of equal width that are one then.
template <class X, class Y>
bool stands_behind(const X& second, const Y& first) {
  return first.defined() && second.data() == first.data() + first.size();
}

/// Copies both into memory of their own in which the second stands behind the first.
template <class X>
std::pair<X, X> one_behind_another(const X& first, const X& second) {
  using T = typename X::value_type;
  using Device = typename X::device;
  const std::size_t n = first.size();
  const Storage<Device> both(2 * n * sizeof(T));
  T* const data = static_cast<T*>(both.data());
  kernel::copy(Device{}, n, first.data(), data);
  kernel::copy(Device{}, n, second.data(), data + n);
  return {X(both, data, first.shape()), X(both, data + n, second.shape())};
}

namespace detail {

template <class X, class W>
struct GatedLinearNode {
  using T = typename X::value_type;
  using Device = typename X::device;
  static constexpr std::size_t in = LastAxisOf<X>::extent, out = AxisOf<W, 0>::extent;

  kernel::Activation kind;
  std::size_t rows;
  Storage<Device> both;  ///< gate · x and up · x; the backward pass writes their gradients in their place
  W gate, up;            ///< one behind the other
  Slot x_slot;

  void backward(Tape<Device>& tape, Slot slot) {
    T* const d = static_cast<T*>(both.data());
    kernel::gate_pairs_backward(Device{}, kind, rows, out, d, tape.template incoming<T>(slot), d);
    const auto dx = tape.template target<T>(x_slot);
    kernel::gemm(Device{}, kernel::Op::none, kernel::Op::none, rows, in, 2 * out, one<T>, {d, 2 * out},
                 {gate.data(), in}, dx.adds, {dx.data, in});
  }
};

}  // namespace detail

/// act(gate · x) * (up · x), where `up` stands behind `gate`.   x: [..., In], gate, up: [Out, In] -> [..., Out]
///
/// One product forward and one backward in place of two.
template <Operand X, class W>
auto gated_linear(const X& x, kernel::Activation kind, const W& gate, const W& up) {
  using In = ValueOf<X>;
  constexpr bool fits = same_kind<In, W> && W::rank == 2 && std::is_same_v<AxisOf<W, 1>, LastAxisOf<In>>;
  static_assert(fits, "calm::gated_linear: the weights must be frozen and [Out, In], where In is the last axis of the "
                      "input, of its element type and device");
  if constexpr (fits) {
    using Node = detail::GatedLinearNode<In, W>;
    using T = typename In::value_type;
    using Device = typename In::device;
    detail::require(stands_behind(up, gate), [] {
      return std::string("calm::gated_linear: the second weight does not stand behind the first; see "
                         "calm::one_behind_another");
    });
    const std::size_t rows = rows_of(value(x));
    const Storage<Device> both(rows * 2 * Node::out * sizeof(T));
    T* const products = static_cast<T*>(both.data());
    using Out = WithLastAxis<In, AxisOf<W, 0>>;
    Out y(Out::shape_type::from(value(x).shape().dynamic_extents()));
    kernel::gemm(Device{}, kernel::Op::none, kernel::Op::transpose, rows, 2 * Node::out, Node::in, one<T>,
                 {value(x).data(), Node::in}, {gate.data(), Node::in}, false, {products, 2 * Node::out});
    kernel::gate_pairs(Device{}, kind, rows, Node::out, products, y.mutable_data());
    if constexpr (is_var<X>)
      return record(tape_of(x), std::move(y), [&] { return Node{kind, rows, both, gate, up, slot_of(x)}; });
    else
      return y;
  }
}

}  // namespace calm
