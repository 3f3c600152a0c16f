/// \file  Cross-entropy fused with the projection to the vocabulary.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/linear_cross_entropy.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// A target that does not count.
inline constexpr Index ignored_target = -1;

namespace detail {

/// The gradients stand already, up to the factor that arrives: they were made in the forward pass, chunk by chunk.
template <class X, class W, bool NeedX, bool NeedW>
struct CrossEntropyNode {
  using T = typename X::value_type;
  [[no_unique_address]] KeepIf<NeedX, X, 0> dx;
  [[no_unique_address]] KeepIf<NeedW, W, 1> dw;
  [[no_unique_address]] KeepIf<NeedX, Slot, 2> x_slot;
  [[no_unique_address]] KeepIf<NeedW, Slot, 3> w_slot;

  void backward(Tape<typename X::device>& tape, Slot out) {
    typename X::device device;
    const T* factor = tape.template incoming<T>(out);
    if constexpr (NeedX) kernel::axpy_by(device, dx.size(), factor, dx.data(), tape.template gradient<T>(x_slot));
    if constexpr (NeedW) kernel::axpy_by(device, dw.size(), factor, dw.data(), tape.template gradient<T>(w_slot));
  }
};

/// The targets that count, and their rows.
template <class Device>
struct CountedTargets {
  Storage<Device> memory;
  Index *rows, *wanted;
  std::size_t count;
};

/// Those of `targets`, which are for `all` rows, checked against the vocabulary.
template <class Targets>
CountedTargets<typename Targets::device> counted_targets(const Targets& targets, std::size_t all, std::size_t vocab) {
  require(targets.size() == all, [&] {
    return "calm::linear_cross_entropy: " + std::to_string(targets.size()) + " targets for " + std::to_string(all) +
           " rows";
  });
  Storage<typename Targets::device> memory(2 * targets.size() * sizeof(Index), Place::shared);
  auto* const rows = static_cast<Index*>(memory.data());
  Index* const wanted = rows + targets.size();
  std::size_t n = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Index t = targets[i];
    if (t == ignored_target) continue;
    require(t >= 0 && static_cast<std::size_t>(t) < vocab, [&] {
      return "calm::linear_cross_entropy: target " + std::to_string(i) + " is token " + std::to_string(t) +
             ", outside the vocabulary of " + std::to_string(vocab);
    });
    rows[n] = static_cast<Index>(i);
    wanted[n++] = t;
  }
  require(n > 0, [] {
    return std::string("calm::linear_cross_entropy: every target is masked, so there is no loss; give at least one "
                       "sequence an answer");
  });
  return {std::move(memory), rows, wanted, n};
}

}  // namespace detail

/// The mean of -log softmax(x · Wᵀ)[target] over the targets that count, in nats.
///
/// x: [..., Hidden], weight: [Vocab, Hidden], targets: [...] -> [One]. Only rows with a target are projected, 128
/// or more at a time, and the gradient is made in the same pass. With `softcap` > 0 the logits z are softcap ·
/// tanh(z / softcap) (Gemma 2). Throws `Error` if a target is outside the vocabulary, or if none counts.
template <Operand X, Operand W, class... Lead>
auto linear_cross_entropy(const X& x, const W& weight,
                          const Tensor<Index, typename ValueOf<X>::device, Lead...>& targets, double softcap = 0) {
  using In = ValueOf<X>;
  using Weight = ValueOf<W>;
  static_assert(same_kind<In, Weight>, "calm::linear_cross_entropy: input and weight differ in device or element type");
  static_assert(std::is_same_v<LastAxisOf<In>, LastAxisOf<Weight>> && Weight::rank == 2,
                "calm::linear_cross_entropy: the weight must be [Vocab, Hidden] with the input's last axis");
  static_assert(sizeof...(Lead) + 1 == In::rank,
                "calm::linear_cross_entropy: targets must be the input's axes but the last");
  using T = typename In::value_type;
  using A = Accumulator<T>;
  using Device = typename In::device;
  constexpr std::size_t vocab = AxisOf<Weight, 0>::extent, width = LastAxisOf<In>::extent;
  const auto counted = detail::counted_targets(targets, rows_of(value(x)), vocab);

  using Loss = Tensor<T, Device, One>;
  auto* tape = tape_of(x, weight);
  using Node = detail::CrossEntropyNode<In, Weight, is_var<X>, is_var<W>>;
  [[maybe_unused]] In dx;
  [[maybe_unused]] Tensor<A, Device, AxisOf<Weight, 0>, AxisOf<Weight, 1>> dw;
  if (is_var<X> && tape) dx = In::zeros(value(x).shape());
  if (is_var<W> && tape) dw = decltype(dw)::zeros(value(weight).shape());
  T* const dx_data = dx.defined() ? dx.mutable_data() : nullptr;
  A* const dw_data = dw.defined() ? dw.mutable_data() : nullptr;
  Loss loss(typename Loss::shape_type{});
  kernel::linear_cross_entropy(Device{}, counted.count, width, vocab, counted.rows, counted.wanted, value(x).data(),
                               value(weight).data(), dx_data, dw_data, softcap, loss.mutable_data());
  if constexpr (is_var<X> || is_var<W>) {
    return record(tape, std::move(loss), [&] {
      Weight dw_stored;
      if constexpr (is_var<W>) {
        if constexpr (std::is_same_v<A, T>) {
          dw_stored = dw;
        } else {
          dw_stored = Weight(dw.shape());
          kernel::copy(Device{}, dw.size(), dw.data(), dw_stored.mutable_data());
        }
      }
      return Node{decltype(Node::dx)(dx), decltype(Node::dw)(dw_stored), decltype(Node::x_slot)(slot_of(x)),
                  decltype(Node::w_slot)(slot_of(weight))};
    });
  } else {
    return loss;
  }
}

}  // namespace calm
