/// \file  How fast the pairs of a head turn under rotary positions.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace calm {

/// What makes long contexts of a model that was trained on short ones.
enum class RopeScaling {
  none,
  linear,    ///< every pair turns `factor` times slower (Chen et al. 2023)
  llama3,    ///< slow pairs do, fast ones do not, and those between in part (Llama 3.1)
  yarn,      ///< the same with the pairs between taken by their number (Peng et al., arXiv 2309.00071)
  longrope,  ///< pair k turns pair_factors[k] times slower (Ding et al., arXiv 2402.13753)
};

/// The most pairs of a head to which `longrope` gives factors.
inline constexpr std::size_t max_rope_pairs = 64;

/// How fast the pairs of a head turn.
struct RopeOptions {
  double theta = 10000;  ///< pair k of n turns by theta^(-k/n) per position
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_frequency = 1, high_frequency = 4;  ///< llama3, yarn: turns per original context of slow and fast pairs
  double original_context = 8192;                ///< llama3, yarn: tokens
  std::size_t turned = 0;                        ///< elements of a head that turn, from the first; 0: all
  double magnitude = 1;                          ///< what turned elements are multiplied by
  std::array<double, max_rope_pairs> pair_factors{};  ///< longrope
};

/// yarn: the share of pair `k` that turns as if nothing were scaled. Between the pairs that turn `high_frequency` and
/// `low_frequency` times in the original context, rounded outwards, it falls in a straight line.
inline double rope_unscaled_share(const RopeOptions& o, std::size_t k, double turned) {
  const auto pair_of = [&](double turns) {
    return turned * std::log(o.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(o.theta));
  };
  const double first = std::max(std::floor(pair_of(o.high_frequency)), 0.0);
  const double last = std::min(std::ceil(pair_of(o.low_frequency)), turned - 1);
  const double width = first == last ? 0.001 : last - first;
  return 1 - std::clamp((static_cast<double>(k) - first) / width, 0.0, 1.0);
}

/// Radians per position of pair `k` of a head of `width` elements.
inline double rope_frequency(const RopeOptions& o, std::size_t k, std::size_t width) {
  const auto turned = static_cast<double>(o.turned ? o.turned : width);
  const double frequency = std::pow(o.theta, -2.0 * static_cast<double>(k) / turned);
  if (o.scaling == RopeScaling::none) return frequency;
  if (o.scaling == RopeScaling::linear) return frequency / o.factor;
  if (o.scaling == RopeScaling::longrope) return frequency / o.pair_factors[k];
  if (o.scaling == RopeScaling::yarn) {
    const double share = rope_unscaled_share(o, k, turned);
    return share * frequency + (1 - share) * frequency / o.factor;
  }
  const double turns = o.original_context * frequency / (2 * std::numbers::pi);
  if (turns > o.high_frequency) return frequency;
  if (turns < o.low_frequency) return frequency / o.factor;
  const double fast = (turns - o.low_frequency) / (o.high_frequency - o.low_frequency);
  return (1 - fast) * frequency / o.factor + fast * frequency;
}

}  // namespace calm
