/// \file  One place along an axis, chosen separately for everything before it.
#pragma once

#include <algorithm>
#include <array>
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

/// The axes of a list before `A`.
template <class A, class List>
struct Before {
  using type = AxisList<>;
};
template <class A, class First, class... Axes>
struct Before<A, AxisList<First, Axes...>> {
  using type = std::conditional_t<std::is_same_v<A, First>, AxisList<>,
                                  typename Join<AxisList<First>, typename Before<A, AxisList<Axes...>>::type>::type>;
};

template <class X, class A, class I>
inline constexpr bool indexes_before =
    std::is_same_v<typename Before<A, typename ListOf<X>::type>::type, typename ListOf<I>::type>;

}  // namespace detail

/// Whether `gather<A>(x, index)` is defined: x has axis A once, and `index` has exactly the axes of x before A.
template <class X, class A, class I>
concept Gatherable = Operand<X> && detail::is_tensor<I> && detail::has_one<ValueOf<X>, A> &&
                     std::is_same_v<typename I::value_type, Index> && same_device<ValueOf<X>, I> &&
                     detail::indexes_before<ValueOf<X>, A, I>;

namespace detail {

template <class X, class I>
struct GatherNode {
  I index;
  Slot x_slot;
  std::size_t extent, cols;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    kernel::put_rows(typename X::device{}, index.size(), cols, extent, index.data(), tape.template incoming<T>(out),
                     tape.template gradient<T>(x_slot));
  }
};

}  // namespace detail

/// y[b...] = x[b..., index[b...], ...], e.g. the last state of each text.
///
/// x: [Before..., A, After...], index: [Before...] of Index -> [Before..., After...]; throws `Error` for an index that
/// is not a place along A, or where x and index differ in extent.
template <class A, Operand X, class I>
auto gather(const X& x, const I& index) {
  static_assert(Gatherable<X, A, I>,
                "calm::gather: expects a Tensor of Index whose axes are those of x before the gathered one");
  if constexpr (Gatherable<X, A, I>) {
    using In = ValueOf<X>;
    using Out = detail::WithReplaced<In, A>;
    typename In::device device;
    const auto [outer, extent, inner] = detail::around<A>(value(x));
    const auto all = value(x).shape().extents();
    const auto lead = index.shape().extents();
    std::array<std::size_t, Out::rank> left{};
    for (std::size_t i = 0; i < left.size(); ++i) left[i] = all[i < lead.size() ? i : i + 1];
    detail::require(std::equal(lead.begin(), lead.end(), all.begin()), [&] {
      return "calm::gather: x has " + std::to_string(outer) + " rows to choose from, index has " +
             std::to_string(index.size());
    });
    const std::size_t bad = kernel::first_outside(device, index.size(), index.data(), extent);
    detail::require(bad == index.size(), [&] {
      return "calm::gather: index " + std::to_string(index[bad]) + " at " + detail::place(index, bad) +
             " is outside the axis of " + std::to_string(extent);
    });
    Out y(detail::shape_of<Out>(left));
    kernel::take_rows(device, outer, inner, extent, index.data(), value(x).data(), y.mutable_data());
    if constexpr (is_var<X>) {
      return record(tape_of(x), std::move(y),
                    [&] { return detail::GatherNode<In, I>{index, slot_of(x), extent, inner}; });
    } else {
      return y;
    }
  }
}

}  // namespace calm
