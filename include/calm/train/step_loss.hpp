/// \file  The loss of one step and its gradients, in as many pieces as memory wants.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "calm/tensor/tape.hpp"
#include "calm/tensor/var.hpp"
#include "calm/train/batch.hpp"

namespace calm::train {

/// An endless numbered stream of examples: writes example `i` into `out`, reusing its memory. It depends on `i` alone,
/// so a resumed run meets the same examples.
template <class F>
concept ExampleStream = std::invocable<F&, std::uint64_t, Example&>;

/// The loss of examples as `fit` takes it by default: packed into one batch, which `model.loss` reads.
struct CollatedLoss {
  template <class Model>
  auto operator()(Model& model, std::span<const Example> examples) const {
    const auto batch = collate<typename Model::device>(examples);
    return model.loss(batch.tokens, batch.layout, batch.targets);
  }
};

namespace detail {

/// What a step's forward and backward pass leave beside the gradients.
struct StepLoss {
  double loss = 0;             ///< nats per token, the mean over all targets of the step
  std::size_t positions = 0;   ///< that were read
};

/// Adds up the gradients of the mean loss over all targets of `examples`, which pass in `pieces` parts of about equally
/// many. A part's loss is the mean over its own n targets of N, so it counts n / N: the sum is what one large batch
/// would give, within rounding.
template <class Model, class Device, class Loss>
StepLoss accumulate_gradients(Model& model, Tape<Device>& tape, Loss& loss, std::span<const Example> examples,
                              std::size_t pieces) {
  const std::size_t all = pieces > 1 ? target_count(examples) : 0;
  StepLoss step;
  for (std::size_t p = 0; p < pieces; ++p) {
    const std::size_t begin = examples.size() * p / pieces, end = examples.size() * (p + 1) / pieces;
    const auto part = examples.subspan(begin, end - begin);
    double share = 1;
    if (all > 0) {
      share = static_cast<double>(target_count(part)) / static_cast<double>(all);
      if (share == 0) continue;
    }
    const auto recording = tape.record();
    const auto scalar = loss(model, part);
    backward(scalar, share);
    step.loss += share * static_cast<double>(on_host(value(scalar))[0]);  // a GPU is waited for once all is launched
    for (const Example& e : part) step.positions += positions(e);
  }
  return step;
}

/// Takes the memory of the largest step there will be: its largest part with texts of `longest` tokens, forward and
/// backward, whose gradients are dropped. What comes later is no larger, so the pool can serve it.
template <class Model, class Device, class Loss>
void rehearse(Model& model, Tape<Device>& tape, Loss& loss, std::size_t longest, std::span<Example> examples,
              std::size_t pieces) {
  const std::size_t positions = std::min(longest, Model::spec::config.context);  // one token more is a target alone
  for (Example& e : examples) {
    e.tokens.reserve(longest);
    e.tokens.assign(positions, 0);
    e.labels.assign(positions, 0);
    e.prompt = 0;
  }
  {
    const auto recording = tape.record();
    backward(loss(model, std::span<const Example>(examples).first((examples.size() + pieces - 1) / pieces)));
  }
  for (Example& e : examples) e.labels.clear();
}

}  // namespace detail

}  // namespace calm::train
