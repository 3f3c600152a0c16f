/// \file  Rows of a text in the order of another's: what carries a state from one model's positions to another's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/index.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

/// `I` is [A, New] of Index where X is [A, Old, ...].
template <class X, class I>
constexpr bool is_pick_of() {
  if constexpr (!is_tensor<I> || X::rank < 2)
    return false;
  else if constexpr (I::rank != 2)
    return false;
  else
    return std::is_same_v<typename I::value_type, Index> && same_device<X, I> &&
           std::is_same_v<AxisOf<X, 0>, AxisOf<I, 0>> && has_one<X, AxisOf<X, 1>>;
}

template <class X, class I>
struct PickNode {
  I index;
  Slot x_slot;
  std::size_t step, cols;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    const T* dy = tape.template incoming<T>(out);
    T* dx = tape.template gradient<T>(x_slot);
    const std::size_t group = index.extent(1);
    for (std::size_t b = 0; b < index.extent(0); ++b) {
      kernel::scatter_rows(typename X::device{}, group, cols, index.data() + b * group, dy + b * group * cols,
                           dx + b * step * cols);
    }
  }
};

}  // namespace detail

/// Whether `pick(x, index)` is defined: index has the first axis of x, and a second axis of its own.
template <class X, class I>
concept Pickable = Operand<X> && detail::is_pick_of<ValueOf<X>, I>();

/// y[b, t] = x[b, index[b, t]], and zeros where index[b, t] < 0.
///
/// x: [Batch, Source, ...], index: [Batch, Time] of Index -> [Batch, Time, ...]; throws `Error` for an index beyond the
/// rows of x, or where x and index differ in batch.
template <Operand X, class I>
auto pick(const X& x, const I& index) {
  constexpr bool fits = Pickable<X, I>;  // a plain bool: g++ would explain the concept at length
  static_assert(fits, "calm::pick: expects a Tensor of Index of two axes, of which the first is that of x");
  if constexpr (fits) {
    using In = ValueOf<X>;
    using Out = detail::WithReplaced<In, AxisOf<In, 1>, AxisOf<I, 1>>;
    typename In::device device;
    auto extents = value(x).shape().extents();
    const std::size_t batch = extents[0], step = extents[1], group = index.extent(1);
    detail::require(index.extent(0) == batch, [&] {
      return "calm::pick: x has " + std::to_string(batch) + " texts, index " + std::to_string(index.extent(0));
    });
    const std::size_t bad = kernel::first_beyond(device, index.size(), index.data(), step);
    detail::require(bad == index.size(), [&] {
      return "calm::pick: index " + std::to_string(index[bad]) + " at " + detail::place(index, bad) +
             " is beyond the " + std::to_string(step) + " rows";
    });
    extents[1] = group;
    Out y(detail::shape_of<Out>(extents));
    const std::size_t cols = y.size() / std::max<std::size_t>(1, index.size());
    kernel::pick_rows(device, index.size(), group, cols, step, index.data(), value(x).data(), y.mutable_data());
    if constexpr (is_var<X>) {
      return record(tape_of(x), std::move(y), [&] { return detail::PickNode<In, I>{index, slot_of(x), step, cols}; });
    } else {
      return y;
    }
  } else {
    return value(x);  // keeps g++ from a second error
  }
}

}  // namespace calm
