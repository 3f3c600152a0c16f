/// \file  Training in one call.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "calm/train/adamw.hpp"
#include "calm/train/fit_options.hpp"
#include "calm/train/optimizer.hpp"
#include "calm/train/run.hpp"
#include "calm/train/step_loss.hpp"

namespace calm::train {

/// Trains the trainable parameters of `model` on `stream` with `optimizer`: warm-up, decay and clipping as the options
/// say, `options.steps` steps in all, those of an earlier call with the same checkpoint folder included.
///
/// `loss(model, examples)`, by default `model.loss(tokens, layout, targets)` of the packed examples, must be a scalar
/// Var: the mean over all targets. Frozen parameters cannot change: they have no gradient and the optimizer never sees
/// them. A run that ends in any way, be it kill -9, goes on from its last checkpoint when it is called again, and ends
/// with the same bits as one that nothing befell; its log has no line twice. Throws `Error`.
template <class Model, ExampleStream Stream, Optimizer O, class Loss = CollatedLoss>
FitResult fit(Model& model, Stream stream, const FitOptions& options, O& optimizer, Loss loss = {}) {
  Tape<typename Model::device> tape;
  const detail::RunParts parts{
      [&](std::uint64_t i, Example& example) { stream(i, example); },
      [&](std::span<const Example> examples) {
        return detail::accumulate_gradients(model, tape, loss, examples, options.accumulate);
      },
      [&](std::span<Example> examples) {
        detail::rehearse(model, tape, loss, options.longest, examples, options.accumulate);
      }};
  detail::OptimizerReference<O> any(optimizer);
  return detail::run(options, parts, any);
}

/// As above, with AdamW.
template <class Model, ExampleStream Stream>
FitResult fit(Model& model, Stream stream, const FitOptions& options) {
  AdamW optimizer(model, options.adamw, options.groups);
  return fit(model, std::move(stream), options, optimizer);
}

}  // namespace calm::train
