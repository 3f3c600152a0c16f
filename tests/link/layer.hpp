// A layer with a weight, a bias and a scale, whose operands each program chooses.
#pragma once

#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/linear.hpp"

struct Hidden {
  static constexpr std::size_t extent = 8;
};
struct Inner {
  static constexpr std::size_t extent = 4;
};

using Input = calm::Tensor<float, calm::Cpu, calm::Time, Hidden>;
inline Input input() { return Input::full(calm::Shape<calm::Time, Hidden>(3), 0.5f); }

template <class Mode>
struct Layer {
  template <class... Axes>
  using Parameter = calm::Parameter<Mode, calm::Tensor<float, calm::Cpu, Axes...>>;

  Parameter<Inner, Hidden> weight;
  Parameter<Inner> bias, scale;

  Layer() {
    weight.assign(calm::Tensor<float, calm::Cpu, Inner, Hidden>::full({}, 0.25f));
    bias.assign(calm::Tensor<float, calm::Cpu, Inner>::full({}, 1.0f));
    scale.assign(calm::Tensor<float, calm::Cpu, Inner>::full({}, 2.0f));
  }
  auto operator()(const auto& x) const { return (linear(x, weight()) + bias()) * scale(); }
};
