/// \file  Matrix products with packed weights, and the gradient of their input.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/packed_tensor.hpp"

namespace calm {

namespace detail {

template <class X, PackedMatrix W>
struct PackedLinearNode {
  W w;  // dX needs the weight; nothing needs the input
  Slot x_slot;
  std::size_t rows;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    const auto dx = tape.template target<T>(x_slot);
    kernel::multiply_packed_transposed<typename W::stored_type>(
        typename X::device{}, rows, W::out, W::in, tape.template incoming<T>(out), w.data(), dx.adds, dx.data);
  }
};

/// Whether x · Wᵀ can be; says why not.
template <class In, class W>
constexpr bool multiplies_packed() {
  using Weight = typename W::tensor_type;
  static_assert(same_kind<In, Weight>, "calm::linear: input and packed weight differ in device or element type");
  constexpr bool fits = std::is_same_v<LastAxisOf<In>, AxisOf<Weight, 1>>;
  static_assert(fits || !same_kind<In, Weight>,
                "calm::linear: the last axis of the input is not the weight's input axis "
                "(a projection is missing?)");
  return fits && same_kind<In, Weight>;
}

/// Room for x · Wᵀ.
template <class W, class In>
auto packed_output(const In& x) {
  using Out = WithLastAxis<In, AxisOf<typename W::tensor_type, 0>>;
  return Out(Out::shape_type::from(x.shape().dynamic_extents()));
}

/// y, which is x · Wᵀ, as a variable if x is one.
template <class X, class W, class Y>
auto packed_result(const X& x, const W& w, Y y) {
  if constexpr (is_var<X>) {
    return record(tape_of(x), std::move(y), [&] {
      return PackedLinearNode<ValueOf<X>, W>{w, slot_of(x), rows_of(value(x))};
    });
  } else {
    return y;
  }
}

}  // namespace detail

/// y = x · Wᵀ.   x: [..., In], W: [Out, In] -> y: [..., Out]
///
/// On the host a row of y has the same bits whatever rows stand beside it, on any number of threads.
template <Operand X, PackedMatrix W>
auto linear(const X& x, const W& w) {
  using In = ValueOf<X>;
  if constexpr (detail::multiplies_packed<In, W>()) {
    auto y = detail::packed_output<W>(value(x));
    kernel::multiply_packed<typename W::stored_type>(typename In::device{}, rows_of(value(x)), W::out, W::in,
                                                     value(x).data(), w.data(), false, y.mutable_data());
    return detail::packed_result(x, w, std::move(y));
  }
}

}  // namespace calm
