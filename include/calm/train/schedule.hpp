/// \file  Learning rates as plain functions of the step.
#pragma once

#include <cstdint>

namespace calm::train {

namespace detail {

/// cos(π·t) for t in [0, 1] by Taylor series on [0, π/4], to 1e-15; the same bits on every machine, which the C
/// library's cosine does not promise, and a constant expression, which it is not.
constexpr double cos_pi(double t) {
  if (t > 0.5) return -cos_pi(1 - t);
  constexpr double pi = 3.14159265358979323846;
  const bool by_sine = t > 0.25;  // cos(x) = sin(π/2 - x)
  const double x = pi * (by_sine ? 0.5 - t : t);
  double term = by_sine ? x : 1, sum = term;
  for (int k = by_sine ? 2 : 1; k < 20; k += 2) {
    term *= -x * x / (k * (k + 1));
    sum += term;
  }
  return sum;
}

/// What warm-up leaves of the peak at `step`, counted from 0: (step + 1) / warmup up to 1, so that no step is without
/// effect.
constexpr double warmup_share(std::uint64_t step, std::uint64_t warmup) {
  return step < warmup ? static_cast<double>(step + 1) / static_cast<double>(warmup) : 1.0;
}

/// How much of the time between warm-up and step `steps` is over at `step`: 0 to 1.
constexpr double decay_time(std::uint64_t step, std::uint64_t warmup, std::uint64_t steps) {
  if (step < warmup) return 0;
  return step < steps ? static_cast<double>(step - warmup) / static_cast<double>(steps - warmup) : 1.0;
}

}  // namespace detail

/// The learning rate of step `step` (from 0): a linear warm-up of `warmup` steps to `peak`, then `peak`.
constexpr double warmup_constant(std::uint64_t step, std::uint64_t warmup, double peak) {
  return peak * detail::warmup_share(step, warmup);
}

/// As above, then a straight line that arrives at final_fraction · peak at step `steps` and stays there.
constexpr double warmup_linear(std::uint64_t step, std::uint64_t warmup, std::uint64_t steps, double peak,
                               double final_fraction = 0) {
  const double left = 1 - detail::decay_time(step, warmup, steps);
  return peak * detail::warmup_share(step, warmup) * (final_fraction + (1 - final_fraction) * left);
}

/// As above, by half a cosine (Loshchilov and Hutter 2017, "SGDR", eq. 5).
constexpr double warmup_cosine(std::uint64_t step, std::uint64_t warmup, std::uint64_t steps, double peak,
                               double final_fraction = 0) {
  const double left = 0.5 * (1 + detail::cos_pi(detail::decay_time(step, warmup, steps)));
  return peak * detail::warmup_share(step, warmup) * (final_fraction + (1 - final_fraction) * left);
}

/// How a learning rate falls after warm-up.
enum class Decay { cosine, linear, constant };

/// The learning rate of each step of a run.
struct Schedule {
  Decay decay = Decay::cosine;
  double peak = 1e-3;           ///< after warm-up
  std::uint64_t warmup = 0;     ///< steps
  std::uint64_t steps = 0;      ///< of the whole run
  double final_fraction = 0.1;  ///< of the peak, where a cosine or a line ends; a constant has none

  constexpr double operator()(std::uint64_t step) const {
    switch (decay) {
      case Decay::linear: return warmup_linear(step, warmup, steps, peak, final_fraction);
      case Decay::constant: return warmup_constant(step, warmup, peak);
      case Decay::cosine: break;
    }
    return warmup_cosine(step, warmup, steps, peak, final_fraction);
  }
};

}  // namespace calm::train
