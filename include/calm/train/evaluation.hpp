/// \file  Evaluation while training: the loss on texts that are held out, and when to stop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "calm/train/batch.hpp"
#include "calm/train/step_loss.hpp"

namespace calm::train {

/// The mean loss in nats per token over examples 0 to `count` - 1 of a stream, `batch_size` at a time; nothing is
/// recorded. For `FitOptions::evaluate`. Throws `Error` if there is no example.
template <class Model, ExampleStream Stream, class Loss = CollatedLoss>
double mean_loss(Model& model, Stream&& stream, std::size_t count, std::size_t batch_size = 32, Loss loss = {}) {
  calm::detail::require(count > 0 && batch_size > 0, [] {
    return std::string("calm::train::mean_loss: no examples; expected at least one, in batches of at least one");
  });
  std::vector<Example> examples(std::min(batch_size, count));
  double sum = 0;
  std::size_t targets = 0;
  for (std::size_t first = 0; first < count; first += batch_size) {
    const std::span batch(examples.data(), std::min(batch_size, count - first));
    for (std::size_t j = 0; j < batch.size(); ++j) stream(first + j, batch[j]);
    const std::size_t n = target_count(batch);
    if (n == 0) continue;
    sum += static_cast<double>(n) * static_cast<double>(on_host(value(loss(model, batch)))[0]);
    targets += n;
  }
  return sum / static_cast<double>(targets);
}

namespace detail {

/// The evaluations of a run so far: a number is better the lower it is, and NaN is never better.
struct Evaluations {
  double best = std::numeric_limits<double>::infinity();
  std::uint64_t best_step = 0;  ///< 0: none yet
  std::uint64_t worse = 0;      ///< evaluations since the best

  /// Whether `result` is the best so far.
  bool add(double result, std::uint64_t step) {
    if (!(result < best)) {
      ++worse;
      return false;
    }
    best = result;
    best_step = step;
    worse = 0;
    return true;
  }
};

}  // namespace detail

}  // namespace calm::train
