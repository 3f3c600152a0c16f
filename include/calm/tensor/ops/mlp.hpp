/// \file  The feed-forward layer with biases as one operation.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/tensor/ops/activation.hpp"
#include "calm/tensor/ops/fused_product.hpp"
#include "calm/tensor/ops/linear.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X, class Up, class Down, bool NeedX, bool NeedW>
struct MlpNode {
  using T = typename X::value_type;
  using Device = typename X::device;
  static constexpr std::size_t hidden = LastAxisOf<X>::extent, inner = LastAxisOf<Down>::extent;

  kernel::Activation kind;
  std::size_t rows;
  Storage<Device> before;  ///< up · x + bias
  Down down;
  [[no_unique_address]] KeepIf<NeedX, Up, 0> up;
  [[no_unique_address]] KeepIf<NeedX, Slot, 1> x_slot;
  [[no_unique_address]] KeepIf<NeedW, X, 2> x;
  [[no_unique_address]] KeepIf<NeedW, Storage<Device>, 3> after;  ///< act(before)
  [[no_unique_address]] KeepIf<NeedW, std::array<Slot, 4>, 4> slots;  ///< of up, its bias, down, its bias

  void backward(Tape<Device>& tape, Slot out) {
    using kernel::After;
    using kernel::Op;
    const T* dy = tape.template incoming<T>(out);
    const Storage<Device> d_before(rows * inner * sizeof(T));
    T* const d = static_cast<T*>(d_before.data());
    const auto through = [&](T* sums) {
      multiply_then<T>({.after = After::activation_backward, .kind = kind, .before = data_of(before), .sums = sums},
                       Device{}, Op::none, Op::none, rows, inner, hidden, dy, down.data(), false, d);
    };
    if constexpr (NeedW) {
      add_weight_and_bias_gradients<T>(tape, slots[2], slots[3], true, rows, hidden, inner, dy, data_of(after));
      after = {};
      add_written<T>(tape, slots[1], inner, through);
      const auto dw = tape.template target<T>(slots[0]);
      kernel::gemm(Device{}, Op::transpose, Op::none, inner, hidden, rows, one<T>, {d, inner}, {x.data(), hidden},
                   dw.adds, {dw.data, hidden});
    } else {
      through(nullptr);
    }
    if constexpr (NeedX) {
      const auto dx = tape.template target<T>(x_slot);
      kernel::gemm(Device{}, Op::none, Op::none, rows, hidden, inner, one<T>, {d, inner}, {up.data(), hidden}, dx.adds,
                   {dx.data, hidden});
    }
  }

 private:
  static T* data_of(const Storage<Device>& s) { return static_cast<T*>(s.data()); }
};

/// up: [Inner, Hidden], down: [Hidden, Inner], and their biases.
template <class X, class Up, class UpBias, class Down, class DownBias>
inline constexpr bool is_mlp =
    same_kind<X, Up> && same_kind<X, Down> && same_kind<X, UpBias> && same_kind<X, DownBias> && Up::rank == 2 &&
    Down::rank == 2 && UpBias::rank == 1 && DownBias::rank == 1 &&
    std::is_same_v<AxisOf<Up, 1>, LastAxisOf<X>> && std::is_same_v<AxisOf<Up, 0>, LastAxisOf<UpBias>> &&
    std::is_same_v<AxisOf<Up, 0>, AxisOf<Down, 1>> && std::is_same_v<AxisOf<Down, 0>, LastAxisOf<X>> &&
    std::is_same_v<LastAxisOf<DownBias>, LastAxisOf<X>>;

}  // namespace detail

/// down · act(up · x + up_bias) + down_bias.   x: [..., Hidden], up: [Inner, Hidden], down: [Hidden, Inner] ->
/// [..., Hidden]   (Vaswani et al. 2017, eq. 2)
///
/// One operation if the four parameters are all trainable or all frozen: of what lies between, the activation's operand
/// is kept for the backward pass, and its result if they are trainable.
template <Operand X, Operand Up, Operand UpBias, Operand Down, Operand DownBias>
auto mlp(const X& x, kernel::Activation kind, const Up& up, const UpBias& up_bias, const Down& down,
         const DownBias& down_bias) {
  using In = ValueOf<X>;
  constexpr bool fits = detail::is_mlp<In, ValueOf<Up>, ValueOf<UpBias>, ValueOf<Down>, ValueOf<DownBias>>;
  constexpr bool trained = is_var<Up>;
  constexpr bool alike = is_var<UpBias> == trained && is_var<Down> == trained && is_var<DownBias> == trained;
  static_assert(fits, "calm::mlp: up must be [Inner, Hidden], down [Hidden, Inner] and the biases [Inner] and "
                      "[Hidden], where Hidden is the last axis of the input, all of its element type and device");
  if constexpr (fits && !alike) {
    return linear(detail::activated(linear(x, up, up_bias), kind), down, down_bias);
  } else if constexpr (fits) {
    using T = typename In::value_type;
    using Node = detail::MlpNode<In, ValueOf<Up>, ValueOf<Down>, is_var<X>, trained>;
    using Device = typename In::device;
    using kernel::After;
    const std::size_t rows = rows_of(value(x)), bytes = rows * Node::inner * sizeof(T);
    auto* const tape = tape_of(x, up, up_bias, down, down_bias);
    const Storage<Device> before = tape ? Storage<Device>(bytes) : Storage<Device>(), after(bytes);
    T* const inner = static_cast<T*>(after.data());
    In y(value(x).shape());
    detail::multiply_then<T>({.after = After::activation,
                              .kind = kind,
                              .bias = value(up_bias).data(),
                              .before = static_cast<T*>(before.data())},
                             Device{}, kernel::Op::none, kernel::Op::transpose, rows, Node::inner, Node::hidden,
                             value(x).data(), value(up).data(), false, inner);
    detail::multiply_then<T>({.after = After::bias, .bias = value(down_bias).data()}, Device{}, kernel::Op::none,
                             kernel::Op::transpose, rows, Node::hidden, Node::inner, inner, value(down).data(), false,
                             y.mutable_data());
    if constexpr (is_var<X> || trained) {
      return record(tape, std::move(y), [&] {
        return Node{kind, rows, before, value(down), decltype(Node::up)(value(up)), decltype(Node::x_slot)(slot_of(x)),
                    decltype(Node::x)(value(x)), decltype(Node::after)(after),
                    decltype(Node::slots)(
                        std::array{slot_of(up), slot_of(up_bias), slot_of(down), slot_of(down_bias)})};
      });
    } else {
      return y;
    }
  }
}

}  // namespace calm
