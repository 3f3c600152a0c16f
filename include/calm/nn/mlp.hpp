/// \file  Feed-forward layers.
///
/// The operations they are made of, by what the weights are; the first line that fits is taken:
///
///   layer  weights                                       operations
///   plain  with biases, neither packed nor corrected     mlp: activation and biases within the products
///   plain  any other                                     linear (packed or not), activation, linear
///   gated  frozen on a GPU, one behind another, no bias  gated_linear (gate and up one product), linear
///   gated  packed, no bias                               packed_mlp, the whole layer at once
///   gated  any other                                     two linear, gated activation, linear
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/nn/config.hpp"
#include "calm/nn/linear.hpp"
#include "calm/tensor/ops/activation.hpp"
#include "calm/tensor/ops/gated.hpp"
#include "calm/tensor/ops/gated_linear.hpp"
#include "calm/tensor/ops/mlp.hpp"
#include "calm/tensor/ops/packed_mlp.hpp"

namespace calm::nn {

/// down(act(up(x))).   [..., Hidden] -> [..., Hidden]   (Vaswani et al. 2017, eq. 2, with GELU)
template <Spec S, class T, class Device, class Mode>
struct PlainMlp {
  using Up = Linear<Hidden<S>, Inner<S>, T, Device, Mode, S::config.bias>;
  using Down = Linear<Inner<S>, Hidden<S>, T, Device, Mode, S::config.bias>;
  static constexpr std::size_t parameter_count = Up::parameter_count + Down::parameter_count;

  static constexpr auto activation =
      S::config.mlp == MlpKind::gelu ? kernel::Activation::gelu : kernel::Activation::gelu_tanh;

  Up up_proj;
  Down down_proj;

  template <Operand X>
  auto operator()(const X& x) const {
    constexpr bool corrected = !std::is_empty_v<decltype(up_proj.low_rank)>;
    if constexpr (S::config.bias && !corrected && !PackedMatrix<decltype(up_proj.weight())>)
      return mlp(x, activation, up_proj.weight(), up_proj.bias(), down_proj.weight(), down_proj.bias());
    else
      return down_proj(calm::detail::activated(up_proj(x), activation));
  }

  void visit(auto&& v) {
    v("up_proj", up_proj);
    v("down_proj", down_proj);
  }
};

/// down(act(gate(x)) * up(x)).   [..., Hidden] -> [..., Hidden]   (Shazeer 2020, eq. 5 and 6)
template <Spec S, class T, class Device, class Mode>
struct GatedMlp {
  using Up = Linear<Hidden<S>, Inner<S>, T, Device, Mode, S::config.bias>;
  using Down = Linear<Inner<S>, Hidden<S>, T, Device, Mode, S::config.bias>;
  static constexpr std::size_t parameter_count = 2 * Up::parameter_count + Down::parameter_count;

  static constexpr auto activation =
      S::config.mlp == MlpKind::swiglu ? kernel::Activation::silu : kernel::Activation::gelu_tanh;

  /// On a device that holds frozen weights as they are, those of the gate and of what it gates stand one behind another
  /// once they are settled, so that they are one matrix. (On the host, packed ones have an operation of their own.)
  static constexpr bool joins = std::is_same_v<Mode, Frozen> && !std::is_same_v<Device, Cpu> && !S::config.bias;

  Up gate_proj, up_proj;
  Down down_proj;

  template <Operand X>
  auto operator()(const X& x) const {
    if constexpr (joins) {
      if (stands_behind(up_proj.weight(), gate_proj.weight()))
        return down_proj(gated_linear(x, activation, gate_proj.weight(), up_proj.weight()));
    }
    if constexpr (PackedMatrix<decltype(gate_proj.weight())> && !S::config.bias)
      return packed_mlp(x, activation, gate_proj.weight(), up_proj.weight(), down_proj.weight());
    else
      return down_proj(calm::detail::gated("nn::GatedMlp", gate_proj(x), up_proj(x), activation));
  }

  void visit(auto&& v) {
    v("gate_proj", gate_proj);
    v("up_proj", up_proj);
    v("down_proj", down_proj);
  }

  /// See nn::settle.
  void settle()
    requires joins
  {
    auto &gate = gate_proj.weight, &up = up_proj.weight;
    if (!gate().defined() || !up().defined() || stands_behind(up(), gate())) return;
    auto [first, second] = one_behind_another(gate(), up());
    gate.assign(std::move(first));
    up.assign(std::move(second));
  }
};

/// The feed-forward layer that the configuration asks for.
template <Spec S, class T, class Device, class Mode>
using Mlp = std::conditional_t<S::config.mlp == MlpKind::swiglu || S::config.mlp == MlpKind::geglu,
                               GatedMlp<S, T, Device, Mode>, PlainMlp<S, T, Device, Mode>>;

}  // namespace calm::nn
