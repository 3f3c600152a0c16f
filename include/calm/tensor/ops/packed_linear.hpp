/// \file  Matrix product with a packed weight, and the gradient of its input.
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

}  // namespace detail

/// y = x · Wᵀ.   x: [..., In], W: [Out, In] -> y: [..., Out]
///
/// On the host a row of y has the same bits whatever rows stand beside it, on any number of threads.
template <Operand X, PackedMatrix W>
auto linear(const X& x, const W& w) {
  using In = ValueOf<X>;
  using Weight = typename W::tensor_type;
  static_assert(same_kind<In, Weight>, "calm::linear: input and packed weight differ in device or element type");
  constexpr bool fits = std::is_same_v<LastAxisOf<In>, AxisOf<Weight, 1>>;
  static_assert(fits || !same_kind<In, Weight>,
                "calm::linear: the last axis of the input is not the weight's input axis "
                "(a projection is missing?)");
  if constexpr (fits && same_kind<In, Weight>) {
    using Out = WithLastAxis<In, AxisOf<Weight, 0>>;
    Out y(Out::shape_type::from(value(x).shape().dynamic_extents()));
    const std::size_t rows = rows_of(value(x));
    kernel::multiply_packed<typename W::stored_type>(typename In::device{}, rows, W::out, W::in, value(x).data(),
                                                     w.data(), false, y.mutable_data());
    if constexpr (is_var<X>) {
      return record(tape_of(x), std::move(y), [&] { return detail::PackedLinearNode<In, W>{w, slot_of(x), rows}; });
    } else {
      return y;
    }
  }
}

}  // namespace calm
