/// \file  Matrix product with a weight, and its gradients.
#pragma once

#include <type_traits>

#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/ops/fused_product.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

/// [Out, In], as torch.nn.Linear stores it, wherever the last axis fits; else [In, Out], as GPT-2's Conv1D does.
template <class X, class W>
inline constexpr bool weight_is_out_in = std::is_same_v<LastAxisOf<W>, LastAxisOf<X>>;

template <class X, class W>
using LinearOutAxis = std::conditional_t<weight_is_out_in<X, W>, AxisOf<W, 0>, AxisOf<W, 1>>;

}  // namespace detail

/// Whether `linear(x, w)` is defined: one type, one device, and an axis of the weight equal to the last of the input.
template <class X, class W>
concept Multipliable =
    same_kind<ValueOf<X>, ValueOf<W>> && ValueOf<W>::rank == 2 &&
    (std::is_same_v<LastAxisOf<ValueOf<X>>, AxisOf<ValueOf<W>, 0>> ||
     std::is_same_v<LastAxisOf<ValueOf<X>>, AxisOf<ValueOf<W>, 1>>);

namespace detail {

/// dW and the gradient of the bias, [out], in one product.   dy: [rows, out], x: [rows, in]
template <class T, class Device>
void add_weight_and_bias_gradients(Tape<Device>& tape, Slot w, Slot bias, bool out_in, std::size_t rows,
                                   std::size_t out, std::size_t in, const T* dy, const T* x) {
  using kernel::After;
  add_written<T>(tape, bias, out, [&](T* sums) {
    const auto dw = tape.template target<T>(w);
    const kernel::Epilogue<T> e{.after = out_in ? After::sums_of_a : After::sums_of_b, .sums = sums};
    multiply_then(e, Device{}, kernel::Op::transpose, kernel::Op::none, out_in ? out : in, out_in ? in : out, rows,
                  out_in ? dy : x, out_in ? x : dy, dw.adds, dw.data);
  });
}

/// What a linear layer multiplies by: here products of the operands as they are.
template <class T>
struct PlainProduct {
  template <class Device>
  static void gemm(Device device, kernel::Op op_a, kernel::Op op_b, std::size_t m, std::size_t n, std::size_t k,
                   kernel::MatrixRef<const T> a, kernel::MatrixRef<const T> b, bool add, kernel::MatrixRef<T> c) {
    kernel::gemm(device, op_a, op_b, m, n, k, one<T>, a, b, add, c);
  }
};

template <class Product, class X, class W, bool NeedX, bool NeedW, bool NeedB>
struct LinearNode {
  using T = typename X::value_type;
  using Device = typename X::device;
  static constexpr bool out_in = weight_is_out_in<X, W>;
  static constexpr std::size_t in_extent = LastAxisOf<X>::extent, out_extent = LinearOutAxis<X, W>::extent;

  [[no_unique_address]] KeepIf<NeedX, W, 0> w;  // dX needs the weight,
  [[no_unique_address]] KeepIf<NeedW, X, 1> x;  // dW the input; a frozen weight keeps no input alive
  [[no_unique_address]] KeepIf<NeedX, Slot, 2> x_slot;
  [[no_unique_address]] KeepIf<NeedW, Slot, 3> w_slot;
  [[no_unique_address]] KeepIf<NeedB, Slot, 4> b_slot;
  std::size_t rows;

  void backward(Tape<Device>& tape, Slot out) {
    const T* dy = tape.template incoming<T>(out);
    using kernel::Op;
    if constexpr (NeedX) {
      const auto dx = tape.template target<T>(x_slot);
      Product::gemm(Device{}, Op::none, out_in ? Op::none : Op::transpose, rows, in_extent, out_extent,
                    {dy, out_extent}, {w.data(), out_in ? in_extent : out_extent}, dx.adds, {dx.data, in_extent});
    }
    if constexpr (NeedW && NeedB)
      add_weight_and_bias_gradients(tape, w_slot, b_slot, out_in, rows, out_extent, in_extent, dy, x.data());
    else if constexpr (NeedW)
      weight_gradient(tape, dy);
    else if constexpr (NeedB)
      kernel::sum_rows(Device{}, rows, out_extent, dy, tape.template gradient<T>(b_slot));
  }

 private:
  void weight_gradient(Tape<Device>& tape, const T* dy) {
    using kernel::Op;
    const auto dw = tape.template target<T>(w_slot);
    const kernel::MatrixRef<const T> of_y{dy, out_extent}, of_x{x.data(), in_extent};
    if constexpr (out_in)
      Product::gemm(Device{}, Op::transpose, Op::none, out_extent, in_extent, rows, of_y, of_x, dw.adds,
                    {dw.data, in_extent});
    else
      Product::gemm(Device{}, Op::transpose, Op::none, in_extent, out_extent, rows, of_x, of_y, dw.adds,
                    {dw.data, out_extent});
  }
};

/// y = x · op(W) (+ the bias, which is one operand or none, of plain products)
template <class Product, class X, class W, class... B>
auto multiplied(const X& x, const W& w, const B&... bias) {
  using In = ValueOf<X>;
  using Weight = ValueOf<W>;
  using Node = LinearNode<Product, In, Weight, is_var<X>, is_var<W>, (is_var<B> || ...)>;
  using T = typename In::value_type;
  using Device = typename In::device;
  using kernel::Op;
  constexpr std::size_t in_extent = Node::in_extent, out_extent = Node::out_extent;
  constexpr Op op = Node::out_in ? Op::transpose : Op::none;
  using Out = WithLastAxis<In, LinearOutAxis<In, Weight>>;

  Out y(Out::shape_type::from(value(x).shape().dynamic_extents()));
  const std::size_t rows = rows_of(value(x));
  if constexpr (sizeof...(B) == 0)
    Product::gemm(Device{}, Op::none, op, rows, out_extent, in_extent, {value(x).data(), in_extent},
                  {value(w).data(), Node::out_in ? in_extent : out_extent}, false, {y.mutable_data(), out_extent});
  else
    multiply_then<T>({.after = kernel::After::bias, .bias = (value(bias).data(), ...)}, Device{}, Op::none, op, rows,
                     out_extent, in_extent, value(x).data(), value(w).data(), false, y.mutable_data());
  if constexpr (is_var<X> || is_var<W> || (is_var<B> || ...)) {
    return record(tape_of(x, w, bias...), std::move(y), [&] {
      return Node{decltype(Node::w)(value(w)),           decltype(Node::x)(value(x)),
                  decltype(Node::x_slot)(slot_of(x)),    decltype(Node::w_slot)(slot_of(w)),
                  decltype(Node::b_slot)((Slot{0} + ... + slot_of(bias))), rows};
    });
  } else {
    return y;
  }
}

}  // namespace detail

/// y = x · Wᵀ for W: [Out, In], or x · W for W: [In, Out].   x: [..., In] -> y: [..., Out]
///
/// The weight's order is read off its axes; where both axes are the same type, [Out, In] is meant.
template <Operand X, Operand W>
auto linear(const X& x, const W& w) {
  static_assert(same_device<ValueOf<X>, ValueOf<W>>, "calm::linear: input and weight are on different devices");
  static_assert(same_dtype<ValueOf<X>, ValueOf<W>>, "calm::linear: input and weight have different element types");
  constexpr bool fits = Multipliable<X, W> || !same_kind<ValueOf<X>, ValueOf<W>>;  // a plain bool: a short diagnostic
  static_assert(fits,
                "calm::linear: the last axis of the input is not an axis of the weight (a projection is missing?)");
  using T = typename ValueOf<X>::value_type;
  if constexpr (Multipliable<X, W>) return detail::multiplied<detail::PlainProduct<T>>(x, w);
}

/// The same plus b in one operation.   x: [..., In], b: [Out] -> y: [..., Out]
template <Operand X, Operand W, Operand B>
auto linear(const X& x, const W& w, const B& b) {
  constexpr bool fits = Multipliable<X, W>;
  static_assert(fits, "calm::linear: input and weight differ in device or element type, or the last axis of the input "
                      "is not an axis of the weight");
  if constexpr (fits) {
    using Bias = ValueOf<B>;
    constexpr bool biased = same_kind<ValueOf<W>, Bias> && Bias::rank == 1 &&
                            std::is_same_v<LastAxisOf<Bias>, detail::LinearOutAxis<ValueOf<X>, ValueOf<W>>>;
    static_assert(biased, "calm::linear: the bias must have the weight's output axis alone, and its type and device");
    using T = typename Bias::value_type;
    if constexpr (biased) return detail::multiplied<detail::PlainProduct<T>>(x, w, b);
  }
}

}  // namespace calm
