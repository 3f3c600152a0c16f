/// \file  Matrix product with a weight, both rounded to bf16 as they are multiplied, and its gradients.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/rounded_product.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X, class W, bool NeedX, bool NeedW>
struct RoundedLinearNode {
  static constexpr std::size_t out = AxisOf<W, 0>::extent, in = AxisOf<W, 1>::extent;

  [[no_unique_address]] KeepIf<NeedX, W, 0> w;
  [[no_unique_address]] KeepIf<NeedW, X, 1> x;
  [[no_unique_address]] KeepIf<NeedX, Slot, 2> x_slot;
  [[no_unique_address]] KeepIf<NeedW, Slot, 3> w_slot;
  std::size_t rows;

  void backward(Tape<Cpu>& tape, Slot y_slot) {
    using kernel::Op;
    const float* dy = tape.incoming<float>(y_slot);
    if constexpr (NeedX) {
      const auto dx = tape.target<float>(x_slot);
      kernel::rounded_gemm(Cpu{}, Op::none, Op::none, rows, in, out, {dy, out}, {w.data(), in}, dx.adds, {dx.data, in});
    }
    if constexpr (NeedW) {
      const auto dw = tape.target<float>(w_slot);
      kernel::rounded_gemm(Cpu{}, Op::transpose, Op::none, out, in, rows, {dy, out}, {x.data(), in}, dw.adds,
                           {dw.data, in});
    }
  }
};

}  // namespace detail

/// y = x · Wᵀ on the host, in float, each operand rounded to bf16 as it enters the product, and in those of the
/// gradients: what torch.autocast makes of a linear layer, but that all results and sums are in float. At most 4 rows
/// of y are not rounded.   x: [..., In], W: [Out, In] -> y: [..., Out]
template <Operand X, Operand W>
auto rounded_linear(const X& x, const W& w) {
  using In = ValueOf<X>;
  using Weight = ValueOf<W>;
  constexpr bool fits = same_kind<In, Weight> && Weight::rank == 2 &&
                        std::is_same_v<typename In::value_type, float> && std::is_same_v<typename In::device, Cpu> &&
                        std::is_same_v<LastAxisOf<In>, LastAxisOf<Weight>>;
  static_assert(fits, "calm::rounded_linear: input and weight must be in float on the host, the weight [Out, In] with "
                      "the input's last axis");
  if constexpr (fits) {
    using Node = detail::RoundedLinearNode<In, Weight, is_var<X>, is_var<W>>;
    using Out = WithLastAxis<In, AxisOf<Weight, 0>>;
    Out y(Out::shape_type::from(value(x).shape().dynamic_extents()));
    const std::size_t rows = rows_of(value(x));
    kernel::rounded_gemm(Cpu{}, kernel::Op::none, kernel::Op::transpose, rows, Node::out, Node::in,
                         {value(x).data(), Node::in}, {value(w).data(), Node::in}, false,
                         {y.mutable_data(), Node::out});
    if constexpr (is_var<X> || is_var<W>) {
      return record(tape_of(x, w), std::move(y), [&] {
        return Node{decltype(Node::w)(value(w)), decltype(Node::x)(value(x)), decltype(Node::x_slot)(slot_of(x)),
                    decltype(Node::w_slot)(slot_of(w)), rows};
      });
    } else {
      return y;
    }
  }
}

}  // namespace calm
