/// \file  Axes as types, and shapes made of them.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <tuple>

namespace calm {

/// The extent of an axis whose length is known only when the program runs (batch and time; never a feature axis).
inline constexpr std::size_t dynamic = static_cast<std::size_t>(-1);

/// An axis is a type that says its extent. Two axes are the same axis only if they are the same type, so the hidden
/// axes of two models never mix, even where both are 512 wide.
template <class A>
concept Axis = requires {
  { A::extent } -> std::convertible_to<std::size_t>;
};

/// Sequences computed together.
struct Batch {
  static constexpr std::size_t extent = dynamic;
};
/// Positions of a text in one model's tokens.
struct Time {
  static constexpr std::size_t extent = dynamic;
};
/// Positions of the text that is read across models: the augment's tokens, seen from the anchor.
struct Source {
  static constexpr std::size_t extent = dynamic;
};
/// A one-element axis for scalars such as a loss.
struct One {
  static constexpr std::size_t extent = 1;
};

/// Axis `A` at a length that is fixed at compile time, e.g. `Sized<Time, 128>`.
template <class A, std::size_t N>
struct Sized {
  static constexpr std::size_t extent = N;
};

namespace detail {

template <std::size_t N>
struct DynamicExtents {
  std::array<std::size_t, N> value{};
  constexpr std::size_t get(std::size_t i) const { return value[i]; }
  friend constexpr bool operator==(const DynamicExtents&, const DynamicExtents&) = default;
};

template <>
struct DynamicExtents<0> {
  constexpr std::size_t get(std::size_t) const { return 0; }
  friend constexpr bool operator==(const DynamicExtents&, const DynamicExtents&) = default;
};

}  // namespace detail

/// The extents of a list of axes, row-major (the last axis is contiguous). Only dynamic extents are stored, so a static
/// shape is an empty object.
template <Axis... Axes>
class Shape {
 public:
  static constexpr std::size_t rank = sizeof...(Axes);
  static constexpr std::size_t dynamic_rank = (std::size_t{0} + ... + (Axes::extent == dynamic ? 1 : 0));

  constexpr Shape() = default;

  /// One argument per dynamic axis, in order.
  template <std::convertible_to<std::size_t>... N>
    requires(sizeof...(N) == dynamic_rank && sizeof...(N) > 0)
  constexpr explicit Shape(N... extents) : dynamic_{{static_cast<std::size_t>(extents)...}} {}

  /// Takes the dynamic extents from an array, in order.
  static constexpr Shape from(const std::array<std::size_t, dynamic_rank>& extents) {
    Shape s;
    if constexpr (dynamic_rank > 0) s.dynamic_.value = extents;
    return s;
  }

  constexpr std::array<std::size_t, rank> extents() const {
    std::array<std::size_t, rank> all{};
    std::size_t axis = 0, dyn = 0;
    ((all[axis++] = (Axes::extent == dynamic) ? dynamic_.get(dyn++) : Axes::extent), ...);
    return all;
  }
  constexpr std::size_t extent(std::size_t axis) const { return extents()[axis]; }

  /// The extents of the dynamic axes alone.
  constexpr std::array<std::size_t, dynamic_rank> dynamic_extents() const {
    std::array<std::size_t, dynamic_rank> out{};
    for (std::size_t i = 0; i < dynamic_rank; ++i) out[i] = dynamic_.get(i);
    return out;
  }

  /// The number of elements.
  constexpr std::size_t size() const {
    std::size_t n = 1;
    for (std::size_t e : extents()) n *= e;
    return n;
  }

  friend constexpr bool operator==(const Shape&, const Shape&) = default;

 private:
  [[no_unique_address]] detail::DynamicExtents<dynamic_rank> dynamic_;
};

namespace detail {

template <std::size_t I, class... Axes>
using AxisAt = std::tuple_element_t<I, std::tuple<Axes...>>;

template <class... Axes>
using LastAxis = AxisAt<sizeof...(Axes) - 1, Axes...>;

}  // namespace detail
}  // namespace calm
