/// \file  How fast the pairs of a head turn under rotary positions.
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>

namespace calm {

/// What makes long contexts of a model that was trained on short ones.
enum class RopeScaling {
  none,
  linear,  ///< every pair turns `factor` times slower (Chen et al. 2023)
  llama3,  ///< slow pairs do, fast ones do not, and those between in part (Llama 3.1)
};

/// How fast the pairs of a head turn.
struct RopeOptions {
  double theta = 10000;  ///< pair k of n turns by theta^(-k/n) per position
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_frequency = 1, high_frequency = 4;  ///< llama3: turns per original context of slow and of fast pairs
  double original_context = 8192;                ///< llama3: tokens
  std::size_t turned = 0;                        ///< elements of a head that turn, from the first; 0: all
};

/// Radians per position of pair `k` of a head of `width` elements.
inline double rope_frequency(const RopeOptions& o, std::size_t k, std::size_t width) {
  const auto turned = static_cast<double>(o.turned ? o.turned : width);
  const double frequency = std::pow(o.theta, -2.0 * static_cast<double>(k) / turned);
  if (o.scaling == RopeScaling::none) return frequency;
  if (o.scaling == RopeScaling::linear) return frequency / o.factor;
  const double turns = o.original_context * frequency / (2 * std::numbers::pi);
  if (turns > o.high_frequency) return frequency;
  if (turns < o.low_frequency) return frequency / o.factor;
  const double fast = (turns - o.low_frequency) / (o.high_frequency - o.low_frequency);
  return (1 - fast) * frequency / o.factor + fast * frequency;
}

}  // namespace calm
