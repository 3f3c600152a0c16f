/// \file  Other axes over the same elements: rename, split, merge. Nothing is copied.
#pragma once

#include <string>

#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X, class From, class To>
inline constexpr bool can_rename =
    has_one<X, From> && (From::extent == To::extent || From::extent == dynamic || To::extent == dynamic);

template <class X, class A, class B, class C>
inline constexpr bool can_split =
    has_one<X, A> && A::extent != dynamic && B::extent != dynamic && C::extent != dynamic &&
    B::extent * C::extent == A::extent;

template <class X, class B, class C>
inline constexpr bool are_adjacent = has_one<X, B> && has_one<X, C> && place_of<X, B> + 1 == place_of<X, C>;

template <class X, class B, class C, class A>
inline constexpr bool can_merge =
    are_adjacent<X, B, C> && A::extent != dynamic && B::extent != dynamic && C::extent != dynamic &&
    B::extent * C::extent == A::extent;

/// The elements of x under the axes of `Out`. A gradient, too, is only an array of elements, so both share one slot and
/// nothing is recorded.
template <class Out, class X>
auto same_elements(const X& x, typename Out::shape_type shape) {
  using T = typename Out::value_type;
  Out y(value(x).storage(), const_cast<T*>(value(x).data()), shape);  // shared memory is never written
  if constexpr (is_var<X>)
    return Var<Out>{std::move(y), x.tape, x.slot};
  else
    return y;
}

}  // namespace detail

/// Whether `rename<From, To>(x)` is defined: x has axis From once, and To has the same extent (or one is dynamic).
template <class X, class From, class To>
concept Renamable = Operand<X> && Axis<From> && Axis<To> && detail::can_rename<ValueOf<X>, From, To>;

/// Whether `split<A, B, C>(x)` is defined: x has axis A once, and its static extent is that of B times that of C.
template <class X, class A, class B, class C>
concept Splittable = Operand<X> && Axis<A> && Axis<B> && Axis<C> && detail::can_split<ValueOf<X>, A, B, C>;

/// Whether `merge<B, C, A>(x)` is defined: x has B and directly behind it C, and their static extents multiply to A's.
template <class X, class B, class C, class A>
concept Mergeable = Operand<X> && Axis<A> && Axis<B> && Axis<C> && detail::can_merge<ValueOf<X>, B, C, A>;

/// x with axis `From` called `To`.   x: [..., From, ...] -> [..., To, ...], the same memory
///
/// A dynamic extent may become a static one; throws `Error` where they differ.
template <class From, class To, Operand X>
auto rename(const X& x) {
  static_assert(detail::has_one<ValueOf<X>, From>,
                "calm::rename: the axis to rename is not an axis of x, or is one more than once");
  static_assert(!detail::has_one<ValueOf<X>, From> || Renamable<X, From, To>,
                "calm::rename: the two axes have different extents (a projection is missing?)");
  if constexpr (Renamable<X, From, To>) {
    using In = ValueOf<X>;
    const auto extents = value(x).shape().extents();
    if constexpr (From::extent == dynamic && To::extent != dynamic) {
      detail::require(extents[detail::place_of<In, From>] == To::extent, [&] {
        return "calm::rename: expected an axis of extent " + std::to_string(To::extent) + ", found " +
               std::to_string(extents[detail::place_of<In, From>]);
      });
    }
    using Out = detail::WithReplaced<In, From, To>;
    return detail::same_elements<Out>(x, detail::shape_of<Out>(extents));
  }
}

/// x with axis `A` seen as `B` times `C`.   x: [..., A, ...] -> [..., B, C, ...], the same memory
template <class A, class B, class C, Operand X>
auto split(const X& x) {
  static_assert(detail::has_one<ValueOf<X>, A>,
                "calm::split: the axis to split is not an axis of x, or is one more than once");
  static_assert(!detail::has_one<ValueOf<X>, A> || Splittable<X, A, B, C>,
                "calm::split: the extents of the two new axes are not static, or their product is not the old one's");
  if constexpr (Splittable<X, A, B, C>) {
    using Out = detail::WithReplaced<ValueOf<X>, A, B, C>;
    return detail::same_elements<Out>(x, Out::shape_type::from(value(x).shape().dynamic_extents()));
  }
}

/// x with the neighbouring axes `B` and `C` seen as one, `A`.   x: [..., B, C, ...] -> [..., A, ...], the same memory
template <class B, class C, class A, Operand X>
auto merge(const X& x) {
  static_assert(detail::are_adjacent<ValueOf<X>, B, C>,
                "calm::merge: x does not have the first axis and the second one directly behind it");
  static_assert(!detail::are_adjacent<ValueOf<X>, B, C> || Mergeable<X, B, C, A>,
                "calm::merge: the extents of the two old axes are not static, or their product is not the new one's");
  if constexpr (Mergeable<X, B, C, A>) {
    using Out = detail::WithReplaced<detail::WithReplaced<ValueOf<X>, C>, B, A>;
    return detail::same_elements<Out>(x, Out::shape_type::from(value(x).shape().dynamic_extents()));
  }
}

}  // namespace calm
