/// \file  Lists of axes: what operations use to say the shape of their result.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/tensor.hpp"

namespace calm::detail {

template <class... Axes>
struct AxisList {
  static constexpr std::size_t count = sizeof...(Axes);
};

template <class... Lists>
struct Join {
  using type = AxisList<>;
};
template <class... A>
struct Join<AxisList<A...>> {
  using type = AxisList<A...>;
};
template <class... A, class... B, class... Rest>
struct Join<AxisList<A...>, AxisList<B...>, Rest...> {
  using type = typename Join<AxisList<A..., B...>, Rest...>::type;
};

template <class X>
struct ListOf;
template <class T, class D, class... A>
struct ListOf<Tensor<T, D, A...>> {
  using type = AxisList<A...>;
};

template <class T, class D, class List>
struct TensorOn;
template <class T, class D, class... A>
struct TensorOn<T, D, AxisList<A...>> {
  using type = Tensor<T, D, A...>;
};
template <class T, class D>
struct TensorOn<T, D, AxisList<>> {
  using type = Tensor<T, D, One>;  // no axis is left: a scalar
};

template <class List, class From, class To>
struct Replaced;
template <class... A, class From, class To>
struct Replaced<AxisList<A...>, From, To> {
  using type = typename Join<std::conditional_t<std::is_same_v<A, From>, To, AxisList<A>>...>::type;
};

/// Tensor type `X` with the axes of `List`; with axis One where the list is empty.
template <class X, class List>
using WithAxes = typename TensorOn<typename X::value_type, typename X::device, List>::type;

/// Tensor type `X` with axis `From` replaced by the axes `To...`, by none where that is empty.
template <class X, class From, class... To>
using WithReplaced = WithAxes<X, typename Replaced<typename ListOf<X>::type, From, AxisList<To...>>::type>;

/// Tensor type `X` with the axes of tensor type `Lead` and then `Last`.
template <class X, class Lead, class Last>
using WithAppended = WithAxes<X, typename Join<typename ListOf<Lead>::type, AxisList<Last>>::type>;

template <class A, class List>
inline constexpr std::size_t count_in = 0;
template <class A, class... Axes>
inline constexpr std::size_t count_in<A, AxisList<Axes...>> = (std::size_t{0} + ... + std::is_same_v<A, Axes>);

template <class A, class List>
inline constexpr std::size_t place_in = 0;
template <class A, class First, class... Axes>
inline constexpr std::size_t place_in<A, AxisList<First, Axes...>> =
    std::is_same_v<A, First> ? 0 : 1 + place_in<A, AxisList<Axes...>>;

template <class X, class Index>
struct LeadingOf;
template <class X, std::size_t... I>
struct LeadingOf<X, std::index_sequence<I...>> {
  using type = WithAxes<X, AxisList<AxisOf<X, I>...>>;
};

/// Tensor type `X` without its last axis.
template <class X>
using Leading = typename LeadingOf<X, std::make_index_sequence<X::rank - 1>>::type;

/// Whether `A` is an axis of tensor type `X`, and only one.
template <class X, class A>
inline constexpr bool has_one = count_in<A, typename ListOf<X>::type> == 1;

/// The place of axis `A` in tensor type `X`, counted from 0.
template <class X, class A>
inline constexpr std::size_t place_of = place_in<A, typename ListOf<X>::type>;

/// The shape of tensor type `Out` whose axes, static ones included, have these extents.
template <class Out>
typename Out::shape_type shape_of(const std::array<std::size_t, Out::rank>& all) {
  using Shape = typename Out::shape_type;
  std::array<std::size_t, Shape::dynamic_rank> kept{};
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    [[maybe_unused]] std::size_t next = 0;
    ((AxisOf<Out, I>::extent == dynamic ? void(kept[next++] = all[I]) : void()), ...);
  }(std::make_index_sequence<Out::rank>{});
  return Shape::from(kept);
}

/// A row-major array seen as [outer, extent, inner] around one of its axes.
struct Around {
  std::size_t outer = 1, extent = 1, inner = 1;
};

template <class A, class X>
Around around(const X& x) {
  const auto all = x.shape().extents();
  Around a;
  for (std::size_t i = 0; i < all.size(); ++i) {
    (i < place_of<X, A> ? a.outer : i == place_of<X, A> ? a.extent : a.inner) *= all[i];
  }
  return a;
}

/// Element `i` of `x` by its place, as in "[1, 3]".
template <class X>
std::string place(const X& x, std::size_t i) {
  const auto extents = x.shape().extents();
  std::string text = "]";
  for (std::size_t axis = extents.size(); axis-- > 0; i /= extents[axis]) {
    std::string before = axis > 0 ? ", " : "[";
    before += std::to_string(i % extents[axis]);
    text = before + text;
  }
  return text;
}

}  // namespace calm::detail
