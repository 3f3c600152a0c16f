/// \file  One training run: its steps, what it writes down, and how it goes on after a fall.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "calm/compiled.hpp"
#include "calm/train/fit_options.hpp"
#include "calm/train/optimizer.hpp"
#include "calm/train/step_loss.hpp"

namespace calm::train::detail {

/// What a run asks of its model and its data.
struct RunParts {
  std::function<void(std::uint64_t, Example&)> stream;
  /// The gradients of a step, added to those that there are.
  std::function<StepLoss(std::span<const Example>)> gradients;
  /// A pass at the greatest length, for its memory.
  std::function<void(std::span<Example>)> rehearse;
};

/// What `fit` does, in its order. It knows no type of the user's, so a program has it once, however many models it
/// trains.
CALM_INLINE FitResult run(const FitOptions& options, const RunParts& parts, AnyOptimizer& optimizer);

}  // namespace calm::train::detail

#ifndef CALM_COMPILED
#include "calm/train/run.ipp"
#endif
