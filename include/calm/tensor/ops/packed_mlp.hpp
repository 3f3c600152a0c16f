/// \file  A gated feed-forward layer with packed weights as one operation.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/packed_mlp.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/packed_tensor.hpp"

namespace calm {

namespace detail {

template <class Up, class Down>
struct PackedMlpNode {
  using Stored = typename Up::stored_type;
  using T = typename Up::value_type;
  using Device = typename Up::device;

  Up gate, up;
  Down down;
  Storage<Device> gate_kept, up_kept;  // in the weights' type: nothing wide is kept in a wider one
  Slot x_slot;
  std::size_t rows;
  kernel::Activation kind;

  void backward(Tape<Device>& tape, Slot out) {
    const auto dx = tape.template target<T>(x_slot);
    kernel::packed_mlp_backward<Stored>(Device{}, {kind, Up::in, Up::out, gate.data(), up.data(), down.data()}, rows,
                                        static_cast<const Stored*>(gate_kept.data()),
                                        static_cast<const Stored*>(up_kept.data()), tape.template incoming<T>(out),
                                        dx.adds, dx.data);
  }
};

}  // namespace detail

/// down · (act(gate · x) * (up · x)).
/// x: [..., Hidden], gate, up: [Inner, Hidden], down: [Hidden, Inner] -> [..., Hidden]
///
/// On the host the result has the bits of `linear`, the gated activation and `linear` in turn. Of what lies between,
/// only gate · x and up · x are kept for the backward pass, in the type in which the weights are.
template <Operand X, PackedMatrix Up, PackedMatrix Down>
auto packed_mlp(const X& x, kernel::Activation kind, const Up& gate, const Up& up, const Down& down) {
  using In = ValueOf<X>;
  using Stored = typename Up::stored_type;
  using Wide = AxisOf<typename Up::tensor_type, 0>;
  constexpr bool fits = same_kind<In, typename Up::tensor_type> && std::is_same_v<Stored, typename Down::stored_type> &&
                        std::is_same_v<LastAxisOf<In>, AxisOf<typename Up::tensor_type, 1>> &&
                        std::is_same_v<typename Down::tensor_type,
                                       Tensor<typename In::value_type, typename In::device, LastAxisOf<In>, Wide>>;
  static_assert(fits, "calm::packed_mlp: gate and up must be [Inner, Hidden] and down [Hidden, Inner], where Hidden is "
                      "the last axis of the input, of its element type and kept alike");
  if constexpr (fits) {
    In y(value(x).shape());
    const std::size_t rows = rows_of(value(x));
    using Device = typename In::device;
    Storage<Device> gate_kept, up_kept;
    if (is_var<X> && tape_of(x) != nullptr) {
      gate_kept = Storage<Device>(rows * Up::out * sizeof(Stored));
      up_kept = Storage<Device>(rows * Up::out * sizeof(Stored));
    }
    kernel::packed_mlp<Stored>(Device{}, {kind, Up::in, Up::out, gate.data(), up.data(), down.data()}, rows,
                               value(x).data(), static_cast<Stored*>(gate_kept.data()),
                               static_cast<Stored*>(up_kept.data()), y.mutable_data());
    if constexpr (is_var<X>) {
      return record(tape_of(x), std::move(y), [&] {
        return detail::PackedMlpNode<Up, Down>{gate, up, down, gate_kept, up_kept, slot_of(x), rows, kind};
      });
    } else {
      return y;
    }
  }
}

}  // namespace calm
