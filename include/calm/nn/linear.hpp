/// \file  Linear layer: frozen (packed or not), trainable (rounding its operands or not), or frozen with a trainable
/// low-rank correction.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>

#include "calm/nn/lora.hpp"
#include "calm/nn/module.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/linear.hpp"
#include "calm/tensor/ops/packed_projections.hpp"
#include "calm/tensor/ops/rounded_linear.hpp"

namespace calm::nn {

/// y = x · Wᵀ (+ b).   x: [..., In] -> y: [..., Out]; weight: [Out, In], bias: [Out]
template <Axis In, Axis Out, class T, class Device, class Mode, bool Bias = false>
struct Linear {
  static constexpr bool has_bias = Bias;
  static constexpr std::size_t parameter_count = In::extent * Out::extent + (Bias ? Out::extent : 0);

  Parameter<Mode, Tensor<T, Device, Out, In>> weight;
  [[no_unique_address]] KeepIf<Bias, Parameter<Mode, Tensor<T, Device, Out>>> bias;
  [[no_unique_address]] LowRankPart<In, Out, T, Device, Mode> low_rank;

  template <Operand X>
  auto operator()(const X& x) const {
    constexpr bool rounded = std::is_same_v<Mode, TrainedAs<bf16>>;
    if constexpr (rounded && Bias)
      return rounded_linear(x, weight()) + bias();
    else if constexpr (rounded)
      return rounded_linear(x, weight());
    else if constexpr (Bias && PackedMatrix<decltype(weight())>)
      return low_rank.add_to(linear(x, weight()) + bias(), x);
    else if constexpr (Bias)
      return low_rank.add_to(linear(x, weight(), bias()), x);
    else
      return low_rank.add_to(linear(x, weight()), x);
  }

  void visit(auto&& v) {
    v("weight", weight);
    if constexpr (Bias) v("bias", bias);
    low_rank.visit(v);
  }
};

/// What each of several layers makes of x, as a tuple. Packed ones without biases do it on the host in one loop, to the
/// same bits: x is rounded and packed once.
template <Operand X, class... Layer>
auto project(const X& x, const Layer&... layer) {
  constexpr bool on_host = std::is_same_v<typename ValueOf<X>::device, Cpu>;
  if constexpr (on_host && ((PackedMatrix<decltype(layer.weight())> && !Layer::has_bias) && ...))
    return linear(x, layer.weight()...);
  else
    return std::tuple{layer(x)...};
}

}  // namespace calm::nn
