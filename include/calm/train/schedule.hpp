/// \file  Learning rates as a plain function of the step.
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

}  // namespace detail

/// How a learning rate falls after warm-up.
enum class Decay {
  cosine,    ///< by half a cosine (Loshchilov and Hutter 2017, "SGDR", eq. 5)
  linear,    ///< by a straight line
  constant,  ///< not at all
};

/// The learning rate of each step of a run, counted from 0: a linear warm-up, then the decay, which arrives at its end
/// at step `steps` and stays there.
struct Schedule {
  Decay decay = Decay::cosine;
  double peak = 1e-3;           ///< after warm-up
  std::uint64_t warmup = 0;     ///< steps
  std::uint64_t steps = 0;      ///< of the whole run
  double final_fraction = 0.1;  ///< of the peak, where a cosine or a line ends

  constexpr double operator()(std::uint64_t step) const {
    // From (0 + 1) / warmup on, so that no step is without effect.
    if (step < warmup) return peak * (static_cast<double>(step + 1) / static_cast<double>(warmup));
    if (decay == Decay::constant) return peak;
    const double time = step < steps ? static_cast<double>(step - warmup) / static_cast<double>(steps - warmup) : 1.0;
    const double left = decay == Decay::linear ? 1 - time : 0.5 * (1 + detail::cos_pi(time));
    return peak * (final_fraction + (1 - final_fraction) * left);
  }
};

}  // namespace calm::train
