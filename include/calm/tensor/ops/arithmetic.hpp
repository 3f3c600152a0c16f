/// \file  x + y, x - y, x * y and s · x, elementwise or with y broadcast over the leading axes. Operands whose dynamic
/// extents differ are an `Error`.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/reduce.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

/// Y is X's own shape, or X's last axis alone (a bias, a scale).
template <class X, class Y>
inline constexpr bool is_row_of = Y::rank == 1 && X::rank > 1 && same_kind<X, Y> &&
                                  std::is_same_v<LastAxisOf<X>, LastAxisOf<Y>>;

}  // namespace detail

/// Whether elementwise operations accept (x, y).
template <class X, class Y>
concept Broadcastable = std::is_same_v<ValueOf<X>, ValueOf<Y>> || detail::is_row_of<ValueOf<X>, ValueOf<Y>>;

namespace detail {

template <class X, class Y>
void check_extents(const char* name, const X& x, const Y& y) {
  if constexpr (std::is_same_v<X, Y>) {
    require(x.shape() == y.shape(), [&] {
      return std::string("calm::") + name + ": dynamic extents differ: " + std::to_string(x.size()) + " and " +
             std::to_string(y.size()) + " elements";
    });
  }
}

template <class X, class Y>
inline constexpr auto broadcast_cols = std::is_same_v<X, Y> ? std::size_t{0} : LastAxisOf<Y>::extent;

/// Gradient of ±y under broadcasting: the sum over the rows.
template <class X, class Y, bool Minus>
void add_gradient_of_second(Tape<typename X::device>& tape, std::size_t n, const typename X::value_type* dy, Slot y) {
  using T = typename X::value_type;
  typename X::device device;
  T* out = tape.template gradient<T>(y);
  if constexpr (std::is_same_v<X, Y>) {
    static_assert(Minus);  // a sum shares its gradient
    kernel::axpy(device, n, -one<T>, dy, out);
  } else {
    static_assert(!Minus);
    kernel::sum_rows(device, n / LastAxisOf<Y>::extent, LastAxisOf<Y>::extent, dy, out);
  }
}

template <class X, class Y, bool NeedX, bool NeedY, bool Minus>
struct AddNode {
  [[no_unique_address]] KeepIf<NeedX, Slot, 0> x_slot;
  [[no_unique_address]] KeepIf<NeedY, Slot, 1> y_slot;
  std::size_t n;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    if constexpr (NeedY && !Minus && std::is_same_v<X, Y>)
      tape.template share<T>(out, y_slot);
    else if constexpr (NeedY)
      add_gradient_of_second<X, Y, Minus>(tape, n, tape.template incoming<T>(out), y_slot);
    if constexpr (NeedX) tape.template pass_on<T>(out, x_slot);
  }
};

/// z = x ± y as the result of that operation.
template <bool Minus, class X, class Y>
auto record_sum(const X& x, const Y& y, ValueOf<X> z) {
  if constexpr (is_var<X> || is_var<Y>) {
    using Node = AddNode<ValueOf<X>, ValueOf<Y>, is_var<X>, is_var<Y>, Minus>;
    const std::size_t n = z.size();
    return record(tape_of(x, y), std::move(z), [&] {
      return Node{decltype(Node::x_slot)(slot_of(x)), decltype(Node::y_slot)(slot_of(y)), n};
    });
  } else {
    return z;
  }
}

template <bool Minus, class X, class Y>
auto add_or_subtract(const X& x, const Y& y) {
  using In = ValueOf<X>;
  using Other = ValueOf<Y>;
  using T = typename In::value_type;
  check_extents(Minus ? "operator-" : "operator+", value(x), value(y));
  In z(value(x).shape());
  kernel::add_scaled(typename In::device{}, z.size(), broadcast_cols<In, Other>, value(x).data(), value(y).data(),
                     Minus ? -one<T> : one<T>, z.mutable_data());
  return record_sum<Minus>(x, y, std::move(z));
}

template <class X, class Y, bool NeedX, bool NeedY>
struct MultiplyNode {
  [[no_unique_address]] KeepIf<NeedY, X, 0> x;
  [[no_unique_address]] KeepIf<NeedX, Y, 1> y;
  [[no_unique_address]] KeepIf<NeedX, Slot, 2> x_slot;
  [[no_unique_address]] KeepIf<NeedY, Slot, 3> y_slot;
  std::size_t n;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    typename X::device device;
    const T* dz = tape.template incoming<T>(out);
    if constexpr (NeedX) {
      kernel::multiply_add(device, n, broadcast_cols<X, Y>, dz, y.data(), tape.template gradient<T>(x_slot));
    }
    if constexpr (NeedY && std::is_same_v<X, Y>) {
      kernel::multiply_add(device, n, 0, dz, x.data(), tape.template gradient<T>(y_slot));
    } else if constexpr (NeedY) {
      X products(x.shape());
      kernel::multiply(device, n, 0, dz, x.data(), products.mutable_data());
      kernel::sum_rows(device, n / LastAxisOf<Y>::extent, LastAxisOf<Y>::extent, products.data(),
                       tape.template gradient<T>(y_slot));
    }
  }
};

template <class X>
struct ScaleNode {
  Slot x_slot;
  Accumulator<typename X::value_type> factor;
  std::size_t n;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    kernel::axpy(typename X::device{}, n, factor, tape.template incoming<T>(out), tape.template gradient<T>(x_slot));
  }
};

}  // namespace detail

/// x + y.   x: [...], y: the same axes, or x's last axis alone
template <Operand X, Operand Y>
auto operator+(const X& x, const Y& y) {
  constexpr bool fits = Broadcastable<X, Y>;  // a plain bool: g++ would explain the concept at length
  static_assert(fits, "calm::operator+: y has neither the axes of x nor its last axis alone");
  if constexpr (fits)
    return detail::add_or_subtract<false>(x, y);
  else
    return value(x);  // keeps g++ from a second error
}

/// x - y.   Both: [...]
template <Operand X, Operand Y>
auto operator-(const X& x, const Y& y) {
  static_assert(std::is_same_v<ValueOf<X>, ValueOf<Y>>, "calm::operator-: the operands have different axes");
  if constexpr (std::is_same_v<ValueOf<X>, ValueOf<Y>>) return detail::add_or_subtract<true>(x, y);
}

/// x * y, elementwise.   x: [...], y: the same axes, or x's last axis alone
template <Operand X, Operand Y>
auto operator*(const X& x, const Y& y) {
  constexpr bool fits = Broadcastable<X, Y>;  // a plain bool: g++ would explain the concept at length
  static_assert(fits, "calm::operator*: y has neither the axes of x nor its last axis alone");
  if constexpr (Broadcastable<X, Y>) {
    using In = ValueOf<X>;
    using Other = ValueOf<Y>;
    detail::check_extents("operator*", value(x), value(y));
    In z(value(x).shape());
    kernel::multiply(typename In::device{}, z.size(), detail::broadcast_cols<In, Other>, value(x).data(),
                     value(y).data(), z.mutable_data());
    if constexpr (is_var<X> || is_var<Y>) {
      using Node = detail::MultiplyNode<In, Other, is_var<X>, is_var<Y>>;
      const std::size_t n = z.size();
      return record(tape_of(x, y), std::move(z), [&] {
        return Node{decltype(Node::x)(value(x)), decltype(Node::y)(value(y)), decltype(Node::x_slot)(slot_of(x)),
                    decltype(Node::y_slot)(slot_of(y)), n};
      });
    } else {
      return z;
    }
  }
}

/// factor · x.   x: [...]
template <Operand X>
auto scale(const X& x, double factor) {
  using In = ValueOf<X>;
  using A = Accumulator<typename In::value_type>;
  In z(value(x).shape());
  kernel::scale(typename In::device{}, z.size(), static_cast<A>(factor), value(x).data(), z.mutable_data());
  if constexpr (is_var<X>) {
    const std::size_t n = z.size();
    return record(tape_of(x), std::move(z),
                  [&] { return detail::ScaleNode<In>{slot_of(x), static_cast<A>(factor), n}; });
  } else {
    return z;
  }
}

}  // namespace calm
