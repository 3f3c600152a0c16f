/// \file  LoRA: a frozen model whose linear layers carry a trainable low-rank correction (Hu et al. 2021).
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/nn/config.hpp"
#include "calm/nn/module.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/linear.hpp"

namespace calm::nn {

/// Which linear layers of a block carry a correction.
enum class LowRankLayers {
  all,
  attention,  ///< the four of its self-attention; those of its MLP are frozen (Hu et al. 2021, §4.2)
};

/// A mode: every parameter is frozen, and each linear layer that `Layers` names adds (Alpha / Rank) · x·Aᵀ·Bᵀ, where A
/// and B are trainable. B starts at zero, so the model starts as it was.   x: [..., In], A: [Rank, In], B: [Out, Rank]
/// (Hu et al. 2021, arXiv 2106.09685, §4.1; `Alpha` is their α)
template <std::size_t Rank, std::size_t Alpha = 2 * Rank, LowRankLayers Layers = LowRankLayers::all>
struct LowRank {
  static_assert(Rank > 0, "calm::nn::LowRank: the rank must be positive");
  static constexpr std::size_t rank = Rank;
  static constexpr double factor = static_cast<double>(Alpha) / static_cast<double>(Rank);
};

/// The trainable parameters of a transformer with corrections of rank 1: In + Out for each of its layers in `layers`.
constexpr std::size_t low_rank_cost(const TransformerConfig& c, LowRankLayers layers = LowRankLayers::all) {
  const std::size_t queries = c.heads * c.width_of_head(), keys = c.key_heads() * c.width_of_head();
  const bool gated = c.mlp == MlpKind::swiglu || c.mlp == MlpKind::geglu;
  const std::size_t attention = 2 * (c.hidden + queries) + 2 * (c.hidden + keys);
  const std::size_t mlp = (gated ? 3 : 2) * (c.hidden + c.inner_width());
  return c.layers * (attention + (layers == LowRankLayers::all ? mlp : 0));
}

namespace detail {

template <Spec S, std::size_t Budget, LowRankLayers Layers>
struct LowRankInBudget {
  static constexpr std::size_t rank = Budget / low_rank_cost(S::config, Layers);
  static_assert(rank > 0, "calm::nn::LowRankFor: the budget of parameters is below that of corrections of rank 1");
  using type = LowRank<std::max<std::size_t>(rank, 1), 2 * std::max<std::size_t>(rank, 1), Layers>;  // one error
};

}  // namespace detail

/// The mode with the largest rank that gives a transformer of shape `S` at most `Budget` trainable parameters.
template <Spec S, std::size_t Budget, LowRankLayers Layers = LowRankLayers::all>
using LowRankFor = typename detail::LowRankInBudget<S, Budget, Layers>::type;

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

template <Axis In, Axis Out, class T, class Device, std::size_t Rank, std::size_t Alpha, LowRankLayers Layers>
struct LowRankPart<In, Out, T, Device, LowRank<Rank, Alpha, Layers>> {
  TrainableParameter<Tensor<T, Device, RankAxis<Rank>, In>> lora_a;
  TrainableParameter<Tensor<T, Device, Out, RankAxis<Rank>>> lora_b;

  template <class Y, class X>
  auto add_to(const Y& y, const X& x) const {
    return scale(linear(linear(x, lora_a()), lora_b()), LowRank<Rank, Alpha>::factor) + y;
  }
  void visit(auto&& v) {
    v("lora_a", lora_a);
    v("lora_b", lora_b);
  }
};

namespace detail {

template <class Mode>
struct MlpModeOf {
  using type = Mode;
};
template <std::size_t Rank, std::size_t Alpha>
struct MlpModeOf<LowRank<Rank, Alpha, LowRankLayers::attention>> {
  using type = Frozen;
};

}  // namespace detail

/// The mode of the MLP in a block of `Mode`.
template <class Mode>
using MlpMode = typename detail::MlpModeOf<Mode>::type;

}  // namespace calm::nn
