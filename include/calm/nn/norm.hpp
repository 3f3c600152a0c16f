/// \file  Normalisation layers.
#pragma once

#include <cstddef>

#include "calm/nn/config.hpp"
#include "calm/nn/module.hpp"
#include "calm/tensor/ops/norm.hpp"

namespace calm::nn {

/// Normalises the last axis by `Kind`.   x: [..., A] -> [..., A]; weight: [A], bias: [A] (LayerNorm alone)
template <Axis A, NormKind Kind, class T, class Device, class Mode>
struct Norm {
  static constexpr bool has_bias = Kind == NormKind::layer;
  static constexpr std::size_t parameter_count = A::extent * (has_bias ? 2 : 1);

  Parameter<Mode, Tensor<T, Device, A>> weight;
  [[no_unique_address]] KeepIf<has_bias, Parameter<Mode, Tensor<T, Device, A>>> bias;

  template <Operand X>
  auto operator()(const X& x, double eps) const {
    if constexpr (has_bias)
      return layer_norm(x, weight(), bias(), eps);
    else if constexpr (Kind == NormKind::rms_plus_one)
      return rms_norm<NormScale::one_plus_weight>(x, weight(), eps);
    else
      return rms_norm(x, weight(), eps);
  }

  void visit(auto&& v) {
    v("weight", weight);
    if constexpr (has_bias) v("bias", bias);
  }
};

}  // namespace calm::nn
