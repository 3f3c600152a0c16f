/// \file  What a run does about a loss or a gradient that is no number.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "calm/train/parameter_set.hpp"

namespace calm::train {

/// A NaN or an infinity in a step's loss or gradient never reaches the parameters. Then the run
enum class NonFinite {
  stop,       ///< ends: `Error` names the step and the tensor
  skip,       ///< drops the batch, and goes on with the next
  roll_back,  ///< goes back to its last checkpoint from before the step, and from there on drops that batch and
              ///< multiplies all learning rates by `roll_back_rate`. The same from any kill: a run that is resumed
              ///< meets the same step again, and does the same about it.
};

namespace detail {

/// "the loss is nan and the gradient of parameter bridges.0.k.weight is not finite after 7 updates", or nothing.
inline std::string non_finite_text(double loss, const GradientNorm& norm, std::uint64_t updates) {
  if (std::isfinite(loss) && norm.finite()) return {};
  std::string text;
  if (!std::isfinite(loss)) text += "the loss is " + std::to_string(loss);
  if (!norm.finite()) {
    if (!text.empty()) text += " and ";
    text += "the gradient of parameter ";
    text += *norm.non_finite;
    text += " is not finite";
  }
  text += " after " + std::to_string(updates) + " updates";
  return text;
}

}  // namespace detail

}  // namespace calm::train
