/// \file  Product with one factor per row: what a gate does to the heads of an attention.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/multiply_rows.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

/// `F` has one element per row of X, or one per place on the last axis but one, or one in all.
template <class X, class F>
constexpr bool is_factor_of_rows() {
  if constexpr (!same_kind<X, F>)
    return false;
  else
    return std::is_same_v<F, Leading<X>> || (F::rank == 1 && std::is_same_v<LastAxisOf<F>, One>) ||
           (F::rank == 1 && X::rank > 1 && std::is_same_v<LastAxisOf<F>, LastAxisOf<Leading<X>>>);
}

template <class X, class F, bool NeedX, bool NeedF>
struct MultiplyRowsNode {
  using T = typename X::value_type;
  using Device = typename X::device;

  [[no_unique_address]] KeepIf<NeedF, X, 0> x;
  [[no_unique_address]] KeepIf<NeedX, F, 1> factor;
  [[no_unique_address]] KeepIf<NeedX, Slot, 2> x_slot;
  [[no_unique_address]] KeepIf<NeedF, Slot, 3> factor_slot;
  kernel::RowFactors extents;

  void backward(Tape<Device>& tape, Slot out) {
    const T* dz = tape.template incoming<T>(out);
    if constexpr (NeedX) {
      kernel::multiply_rows_add(Device{}, extents, dz, factor.data(), tape.template gradient<T>(x_slot));
    }
    if constexpr (NeedF) {
      kernel::dot_rows(Device{}, extents, dz, x.data(), tape.template gradient<T>(factor_slot));
    }
  }
};

}  // namespace detail

/// Whether `multiply_rows(x, factor)` is defined: the factor has x's axes but the last, or x's last axis but one alone,
/// or axis One.
template <class X, class F>
concept RowsMultipliable = Operand<X> && Operand<F> && detail::is_factor_of_rows<ValueOf<X>, ValueOf<F>>();

/// x with every row along its last axis multiplied by that row's factor.
///
/// x: [..., A, F], factor: [..., A], [A] or [One] -> [..., A, F]
template <Operand X, Operand F>
auto multiply_rows(const X& x, const F& factor) {
  constexpr bool fits = RowsMultipliable<X, F>;  // a plain bool: g++ would explain the concept at length
  static_assert(fits,
                "calm::multiply_rows: the factor has neither the axes of x but the last, nor the last of these alone, "
                "nor axis One");
  if constexpr (fits) {
    using In = ValueOf<X>;
    using Factor = ValueOf<F>;
    const std::size_t rows = rows_of(value(x)), width = rows == 0 ? 0 : value(x).size() / rows;
    if constexpr (std::is_same_v<Factor, detail::Leading<In>> && Factor::shape_type::dynamic_rank > 0) {
      const auto all = value(x).shape().extents();
      const auto leading = value(factor).shape().extents();
      detail::require(std::equal(leading.begin(), leading.end(), all.begin()), [&] {
        return "calm::multiply_rows: dynamic extents differ: x has " + std::to_string(rows) + " rows, the factor " +
               std::to_string(value(factor).size()) + " elements";
      });
    }
    const kernel::RowFactors extents{rows, value(factor).size(), width};
    In z(value(x).shape());
    kernel::multiply_rows(typename In::device{}, extents, value(x).data(), value(factor).data(), z.mutable_data());
    if constexpr (is_var<X> || is_var<F>) {
      using Node = detail::MultiplyRowsNode<In, Factor, is_var<X>, is_var<F>>;
      return record(tape_of(x, factor), std::move(z), [&] {
        return Node{decltype(Node::x)(value(x)), decltype(Node::factor)(value(factor)),
                    decltype(Node::x_slot)(slot_of(x)), decltype(Node::factor_slot)(slot_of(factor)), extents};
      });
    } else {
      return z;
    }
  } else {
    return value(x);  // keeps g++ from a second error
  }
}

}  // namespace calm
