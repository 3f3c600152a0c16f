/// \file  LoRA: a frozen model whose linear layers carry a trainable low-rank correction (Hu et al. 2021).
#pragma once

#include <cstddef>

#include "calm/nn/module.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/linear.hpp"

namespace calm::nn {

/// A mode: every parameter is frozen, and each linear layer adds (Alpha / Rank) · x·Aᵀ·Bᵀ with A and B trainable. B
/// starts at zero, so the model starts as it was.
template <std::size_t Rank, std::size_t Alpha = 2 * Rank>
struct LowRank {
  static_assert(Rank > 0, "calm::nn::LowRank: the rank must be positive");
  static constexpr std::size_t rank = Rank;
};

/// The axis inside a low-rank correction.
template <std::size_t N>
struct RankAxis {
  static constexpr std::size_t extent = N;
};

/// What a linear layer adds to its product in `Mode`: nothing, unless the mode is LowRank.
template <Axis In, Axis Out, class T, class Device, class Mode>
struct LowRankPart {
  template <class Y, class X>
  auto add_to(Y y, const X&) const {
    return y;
  }
  void visit(auto&&) {}
};

template <Axis In, Axis Out, class T, class Device, std::size_t Rank, std::size_t Alpha>
struct LowRankPart<In, Out, T, Device, LowRank<Rank, Alpha>> {
  TrainableParameter<Tensor<T, Device, RankAxis<Rank>, In>> lora_a;
  TrainableParameter<Tensor<T, Device, Out, RankAxis<Rank>>> lora_b;

  template <class Y, class X>
  auto add_to(const Y& y, const X& x) const {
    constexpr double factor = static_cast<double>(Alpha) / static_cast<double>(Rank);
    return scale(linear(linear(x, lora_a()), lora_b()), factor) + y;
  }
  void visit(auto&& v) {
    v("lora_a", lora_a);
    v("lora_b", lora_b);
  }
};

}  // namespace calm::nn
