/// \file  Arrays on the GPU for what is measured.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "calm/tensor.hpp"

namespace speed {

struct Any {
  static constexpr std::size_t extent = calm::dynamic;
};
template <class T>
using Flat = calm::Tensor<T, calm::Cuda, Any>;

/// Numbers that look random, so that the device switches as many transistors as it does in earnest.
template <class T>
Flat<T> some(std::size_t n) {
  std::vector<T> values(std::min<std::size_t>(n, 1 << 20));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<T>(calm::random_uniform({1, 2}, i) - 0.5f);
  }
  Flat<T> x{calm::Shape<Any>(n)};
  for (std::size_t at = 0; at < n; at += values.size()) {
    calm::kernel::copy_from_host(calm::Cuda{}, std::min(values.size(), n - at) * sizeof(T), values.data(),
                                 x.mutable_data() + at);
  }
  return x;
}

}  // namespace speed
