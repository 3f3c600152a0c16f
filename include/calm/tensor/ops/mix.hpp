/// \file  A learned mix of several tensors: what a link reads of neighbouring layers.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <tuple>
#include <utility>

#include "calm/tensor/cpu/mix.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/ops/many.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X, std::size_t N, class W, bool NeedX, bool NeedW>
struct MixNode {
  using T = typename X::value_type;
  using Device = typename X::device;

  [[no_unique_address]] KeepIf<NeedW, std::array<X, N>, 0> states;
  [[no_unique_address]] KeepIf<NeedX, std::array<Slot, most_operands>, 1> x_slots;
  [[no_unique_address]] KeepIf<NeedW, Slot, 2> w_slot;
  Storage<Device> p;
  std::size_t size;

  void backward(Tape<Device>& tape, Slot out) {
    const T* dz = tape.template incoming<T>(out);
    const auto* const shares = static_cast<const Accumulator<T>*>(p.data());
    if constexpr (NeedW) {
      const auto data = data_of(std::span<const X>(states));
      kernel::mix_weights_backward(Device{}, N, size, data.data(), shares, dz, tape.template gradient<T>(w_slot));
    }
    if constexpr (NeedX) {
      std::array<T*, N> dx;
      for (std::size_t j = 0; j < N; ++j) dx[j] = tape.template gradient<T>(x_slots[j]);
      kernel::mix_backward(Device{}, N, size, shares, dz, dx.data());
    }
  }
};

}  // namespace detail

/// Whether `mix(states, weights)` is defined for `N` states of type X: one weight for each.
template <class X, std::size_t N, class W>
concept Mixable = Operand<X> && Operand<W> && (N > 0) && (N <= most_operands) && same_kind<ValueOf<X>, ValueOf<W>> &&
                  ValueOf<W>::rank == 1 && LastAxisOf<ValueOf<W>>::extent == N;

/// Σ_j softmax(weights)_j · states_j, elementwise (Peters et al. 2018, "Deep contextualized word representations",
/// eq. 1, without its factor γ).
///
/// states: N times [...], weights: [N], an axis of that extent -> [...]
template <Operand X, std::size_t N, Operand W>
auto mix(const std::array<X, N>& states, const W& weights) {
  constexpr bool fits = Mixable<X, N, W>;  // a plain bool: g++ would explain the concept at length
  static_assert(fits,
                "calm::mix: the weights must be a single axis with one element for each of at most 32 states, of "
                "their device and element type");
  if constexpr (fits) {
    using In = ValueOf<X>;
    using T = typename In::value_type;
    using Device = typename In::device;
    const std::span<const X> list(states);
    detail::check_list("calm::mix", list);
    const Storage<Device> p(N * sizeof(Accumulator<T>));
    auto* const shares = static_cast<Accumulator<T>*>(p.data());
    kernel::mix_weights(Device{}, N, value(weights).data(), shares);
    In z(value(states[0]).shape());
    const std::size_t size = z.size();
    kernel::mix(Device{}, N, size, detail::data_of(list).data(), shares, z.mutable_data());
    if constexpr (is_var<X> || is_var<W>) {
      using Node = detail::MixNode<In, N, ValueOf<W>, is_var<X>, is_var<W>>;
      return record(detail::tape_of_all(list, weights), std::move(z), [&] {
        const auto tensors = std::apply([](const auto&... x) { return std::array<In, N>{value(x)...}; }, states);
        return Node{decltype(Node::states)(tensors), decltype(Node::x_slots)(detail::slots_of(list)),
                    decltype(Node::w_slot)(slot_of(weights)), p, size};
      });
    } else {
      return z;
    }
  } else {
    return value(states[0]);  // keeps g++ from a second error
  }
}

}  // namespace calm
