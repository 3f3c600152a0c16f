/// \file  Softmax across tensors: what joins several attentions into one, and weighs what several models say.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/reduce.hpp"
#include "calm/tensor/cpu/share.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/ops/many.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// No null score: the shares add up to 1.
struct NoNull {};

namespace detail {

/// Whether `Null` may stand beside scores S: nothing, or one number for each place of their last axis.
template <class S, class Null>
constexpr bool is_null_of() {
  if constexpr (std::is_same_v<Null, NoNull>)
    return true;
  else if constexpr (!Operand<Null>)
    return false;
  else
    return LastAxisOf<S>::extent != dynamic &&
           std::is_same_v<ValueOf<Null>, Tensor<typename S::value_type, typename S::device, LastAxisOf<S>>>;
}

/// The tensor behind a null score.
template <class Null>
auto null_value(const Null& null) {
  if constexpr (std::is_same_v<Null, NoNull>)
    return null;
  else
    return value(null);
}

/// The scores that kernels read. `null`: a tensor, or NoNull.
template <class T, class Null>
kernel::Rivals<T> rivals_of(const std::array<const T*, most_operands>& scores, std::size_t n, std::size_t size,
                            const Null& null) {
  if constexpr (std::is_same_v<Null, NoNull>)
    return {scores.data(), nullptr, n, size, 1};
  else
    return {scores.data(), null.data(), n, size, null.size()};
}

template <class S, class Null, bool NeedScores, bool NeedNull>
struct ShareNode {
  using T = typename S::value_type;
  using Device = typename S::device;

  // The shares are computed again from the scores whichever gradient is asked for.
  OperandList<S> scores;
  [[no_unique_address]] Null null;
  [[no_unique_address]] KeepIf<NeedScores, std::array<Slot, most_operands>, 0> slots;
  [[no_unique_address]] KeepIf<NeedNull, Slot, 1> null_slot;
  std::size_t i;

  void backward(Tape<Device>& tape, Slot out) {
    const auto data = data_of(span_of(scores));
    const auto rivals = rivals_of<T>(data, scores.size(), scores[0].size(), null);
    std::array<T*, most_operands> gradients{};
    T* const* d_scores = nullptr;
    if constexpr (NeedScores) {
      gradients = gradients_of<T>(tape, scores.size(), slots.data());
      d_scores = gradients.data();
    }
    S d_null;
    if constexpr (NeedNull) d_null = S(scores[0].shape());
    kernel::share_backward(Device{}, rivals, i, tape.template incoming<T>(out), d_scores,
                           d_null.defined() ? d_null.mutable_data() : nullptr);
    if constexpr (NeedNull) {
      kernel::sum_rows(Device{}, rows_of(d_null), rivals.cols, d_null.data(), tape.template gradient<T>(null_slot));
    }
  }
};

}  // namespace detail

/// Whether `share(i, scores, null)` is defined.
template <class Scores, class Null>
concept Shareable = Operands<Scores> && detail::is_null_of<ItemOf<Scores>, Null>();

/// The weight of `scores[i]` in the softmax across all scores at its place: e^score_i / (Σ_j e^score_j + e^null). A
/// score of -∞ has none; where nothing but that is, all shares are 0.
///
/// scores: a list (`Operands`) of at most 32 times [..., A], null: [A], one more score that takes its share and brings
/// nothing, or `NoNull` -> [..., A]
///
/// The order of the scores changes no bit of the result, nor of one share's gradients; those of several shares are
/// added up in the order of recording, unless the scores are `fan_out` first.
template <class Scores, class Null = NoNull>
auto share(std::size_t i, const Scores& scores, const Null& null = {}) {
  constexpr bool fits = Shareable<Scores, Null>;  // a plain bool: g++ would explain the concept at length
  static_assert(fits,
                "calm::share: expects a list of operands, and as null score the last axis of these alone, of their "
                "device and element type, or NoNull");
  if constexpr (fits) {
    using S = ItemOf<Scores>;
    using T = typename S::value_type;
    using Device = typename S::device;
    constexpr bool need_scores = is_var<typename Scores::value_type>, need_null = is_var<Null>;
    const auto list = detail::span_of(scores);
    detail::check_list("calm::share", list);
    detail::require(i < list.size(), [&] {
      return "calm::share: there is no score " + std::to_string(i) + " among " + std::to_string(list.size());
    });
    S y(value(list[0]).shape());
    const auto data = detail::data_of(list);
    const auto rivals = detail::rivals_of<T>(data, list.size(), y.size(), detail::null_value(null));
    kernel::share(Device{}, rivals, i, y.mutable_data());
    if constexpr (need_scores || need_null) {
      using Node = detail::ShareNode<S, decltype(detail::null_value(null)), need_scores, need_null>;
      auto* tape = [&] {
        if constexpr (std::is_same_v<Null, NoNull>) return detail::tape_of_all(list);
        else return detail::tape_of_all(list, null);
      }();
      return record(tape, std::move(y), [&] {
        OperandList<S> kept;
        for (const auto& s : list) kept.push_back(value(s));
        Slot null_slot = 0;
        if constexpr (need_null) null_slot = slot_of(null);
        return Node{kept, detail::null_value(null), decltype(Node::slots)(detail::slots_of(list)),
                    decltype(Node::null_slot)(null_slot), i};
      });
    } else {
      return y;
    }
  } else {
    return NoNull{};  // keeps g++ from a second error
  }
}

}  // namespace calm
