/// \file  Normalisation layers.
#pragma once

#include <cstddef>

#include "calm/nn/config.hpp"
#include "calm/nn/module.hpp"
#include "calm/tensor/ops/norm.hpp"
#include "calm/tensor/packed_tensor.hpp"  // FrozenAs

namespace calm::nn {

/// With what elements the backward pass finds a norm's input: those of the model, or those that a packed model's
/// products read anyway.
template <class T, class Mode>
struct KeptInput {
  using type = T;
};
template <class T, class Stored>
struct KeptInput<T, FrozenAs<Stored>> {
  using type = Stored;
};

/// Normalises the last axis by `Kind`.   x: [..., A] -> [..., A]; weight: [A], bias: [A] (LayerNorm alone)
template <Axis A, NormKind Kind, class T, class Device, class Mode>
struct Norm {
  static constexpr bool has_bias = Kind == NormKind::layer;
  static constexpr NormScale scale =
      Kind == NormKind::rms_plus_one ? NormScale::one_plus_weight : NormScale::weight;
  static constexpr std::size_t parameter_count = A::extent * (has_bias ? 2 : 1);

  Parameter<Mode, Tensor<T, Device, A>> weight;
  [[no_unique_address]] KeepIf<has_bias, Parameter<Mode, Tensor<T, Device, A>>> bias;

  template <Operand X>
  auto operator()(const X& x, double eps) const {
    if constexpr (has_bias)
      return layer_norm(x, weight(), bias(), eps);
    else
      return rms_norm<scale, typename KeptInput<T, Mode>::type>(x, weight(), eps);
  }

  /// The sum x + y and what this makes of it.
  template <Operand X, Operand Y>
  auto of_sum(const X& x, const Y& y, double eps) const {
    if constexpr (has_bias)
      return add_layer_norm(x, y, weight(), bias(), eps);
    else
      return add_rms_norm<scale, typename KeptInput<T, Mode>::type>(x, y, weight(), eps);
  }

  void visit(auto&& v) {
    v("weight", weight);
    if constexpr (has_bias) v("bias", bias);
  }
};

}  // namespace calm::nn
