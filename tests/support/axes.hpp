/// \file  Small axes for tests.
#pragma once

#include "calm/tensor/tensor.hpp"

namespace calm::test {

struct Wide {
  static constexpr std::size_t extent = 6;
};
struct Narrow {
  static constexpr std::size_t extent = 4;
};
struct Twin {  // as wide as Wide, and yet another axis
  static constexpr std::size_t extent = 6;
};
struct Two {
  static constexpr std::size_t extent = 2;
};
struct Three {
  static constexpr std::size_t extent = 3;
};
struct Vocabulary {
  static constexpr std::size_t extent = 7;
};

template <class... Axes>
using Doubles = Tensor<double, Cpu, Axes...>;
template <class... Axes>
using Floats = Tensor<float, Cpu, Axes...>;
template <class... Axes>
using Indices = Tensor<Index, Cpu, Axes...>;

}  // namespace calm::test
