/// \file  Sum and mean, over one named axis or over everything.
#pragma once

#include <cstddef>

#include "calm/tensor/cpu/sum.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// Whether `sum<A>(x)` and `mean<A>(x)` are defined: x has axis A, once.
template <class X, class A>
concept Reducible = Operand<X> && Axis<A> && detail::has_one<ValueOf<X>, A>;

namespace detail {

template <class X>
struct SumNode {
  Slot x_slot;
  Accumulator<typename X::value_type> factor;
  Around axis;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    kernel::spread_axis(typename X::device{}, axis.outer, axis.extent, axis.inner, factor,
                        tape.template incoming<T>(out), tape.template gradient<T>(x_slot));
  }
};

/// factor · Σ of x along the middle of `axis`, with the axes of `Out`.
template <class Out, class X>
auto sum_along(const X& x, Around axis, double factor, typename Out::shape_type shape) {
  using In = ValueOf<X>;
  const auto f = static_cast<Accumulator<typename In::value_type>>(factor);
  Out y(shape);
  kernel::sum_axis(typename In::device{}, axis.outer, axis.extent, axis.inner, f, value(x).data(), y.mutable_data());
  if constexpr (is_var<X>)
    return record(tape_of(x), std::move(y), [&] { return SumNode<In>{slot_of(x), f, axis}; });
  else
    return y;
}

template <class A, class X>
auto sum_over(const X& x, bool divide) {
  using Out = WithReplaced<ValueOf<X>, A>;
  const auto all = value(x).shape().extents();
  std::array<std::size_t, Out::rank> left{1};
  for (std::size_t i = 0, next = 0; i < all.size(); ++i) {
    if (i != place_of<ValueOf<X>, A>) left[next++] = all[i];
  }
  const Around axis = around<A>(value(x));
  return sum_along<Out>(x, axis, divide ? 1.0 / static_cast<double>(axis.extent) : 1.0, shape_of<Out>(left));
}

template <class X>
auto sum_all(const X& x, bool divide) {
  using In = ValueOf<X>;
  const std::size_t n = value(x).size();
  return sum_along<WithAxes<In, AxisList<>>>(x, {1, n, 1}, divide ? 1.0 / static_cast<double>(n) : 1.0, {});
}

}  // namespace detail

/// Σ of x along axis `A`.   x: [..., A, ...] -> [..., ...]; [One] where A is the only axis
template <class A, Operand X>
auto sum(const X& x) {
  static_assert(Reducible<X, A>, "calm::sum: the axis to sum over is not an axis of x, or is one more than once");
  if constexpr (Reducible<X, A>) return detail::sum_over<A>(x, false);
}

/// Mean of x along axis `A`.   x: [..., A, ...] -> [..., ...]; [One] where A is the only axis
template <class A, Operand X>
auto mean(const X& x) {
  static_assert(Reducible<X, A>, "calm::mean: the axis to average over is not an axis of x, or is one more than once");
  if constexpr (Reducible<X, A>) return detail::sum_over<A>(x, true);
}

/// Σ of all elements.   x: [...] -> [One]
template <Operand X>
auto sum(const X& x) {
  return detail::sum_all(x, false);
}

/// Mean of all elements.   x: [...] -> [One]
template <Operand X>
auto mean(const X& x) {
  return detail::sum_all(x, true);
}

}  // namespace calm
