/// \file  Cross-entropy fused with the projection to the vocabulary by a packed weight.
#pragma once

#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/packed_cross_entropy.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/ops/cross_entropy.hpp"
#include "calm/tensor/packed_tensor.hpp"

namespace calm {

/// The mean of -log softmax(x · Wᵀ)[target] over the targets that count, as `linear_cross_entropy` of a tensor.
///
/// x: [..., Hidden], weight: [Vocab, Hidden], targets: [...] -> [One]. Throws `Error` if a target is outside the
/// vocabulary, or if none counts.
template <Operand X, PackedMatrix W, class... Lead>
auto linear_cross_entropy(const X& x, const W& weight,
                          const Tensor<Index, typename ValueOf<X>::device, Lead...>& targets, double softcap = 0) {
  using In = ValueOf<X>;
  using Weight = typename W::tensor_type;
  using T = typename In::value_type;
  using Device = typename In::device;
  using Stored = typename W::stored_type;
  static_assert(same_kind<In, Weight>,
                "calm::linear_cross_entropy: input and weight differ in device or element type");
  static_assert(std::is_same_v<LastAxisOf<In>, LastAxisOf<Weight>>,
                "calm::linear_cross_entropy: the weight must be [Vocab, Hidden] with the input's last axis");
  static_assert(sizeof...(Lead) + 1 == In::rank,
                "calm::linear_cross_entropy: targets must be the input's axes but the last");
  const auto counted = detail::counted_targets(targets, rows_of(value(x)), W::out);

  auto* tape = tape_of(x);
  [[maybe_unused]] In dx;
  if (is_var<X> && tape) dx = In::zeros(value(x).shape());
  Tensor<T, Device, One> loss(typename Tensor<T, Device, One>::shape_type{});
  kernel::packed_cross_entropy<Stored>(Device{}, targets.size(), counted.count, W::in, W::out, counted.rows,
                                       counted.wanted, value(x).data(), weight.data(),
                                       dx.defined() ? dx.mutable_data() : nullptr, softcap, loss.mutable_data());
  if constexpr (is_var<X>) {
    using Node = detail::CrossEntropyNode<In, Weight, true, false>;
    return record(tape, std::move(loss), [&] {
      return Node{dx, decltype(Node::dw)(), slot_of(x), decltype(Node::w_slot)()};
    });
  } else {
    return loss;
  }
}

}  // namespace calm
