/// \file  The training loop.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calm/train/adamw.hpp"
#include "calm/train/batch.hpp"
#include "calm/train/metrics.hpp"
#include "calm/train/progress.hpp"
#include "calm/train/schedule.hpp"

namespace calm::train {

/// An endless numbered stream of examples: writes example `i` into `out`, reusing its memory. It depends on `i` alone,
/// so a resumed run meets the same examples.
template <class F>
concept ExampleStream = std::invocable<F&, std::uint64_t, Example&>;

struct FitOptions {
  std::size_t steps = 1000;
  std::size_t batch_size = 32;  ///< examples per step
  std::size_t longest = 0;      ///< tokens of the longest example: its memory is taken at once; 0: as batches come
  double learning_rate = 1e-3;  ///< after warm-up
  double final_fraction = 0.1;  ///< of the learning rate, where the cosine ends
  std::size_t warmup_steps = 50;
  double clip_norm = 1.0;       ///< of all gradients together; 0: no clipping
  AdamWOptions adamw{};
  std::string name = "train";   ///< of the progress line
  bool progress = true;         ///< a progress line, on a terminal only
  std::string metrics{};        ///< a JSONL file to append to; empty: none
  std::size_t log_every = 50;   ///< steps
  std::string checkpoint{};     ///< a file to resume from, if it exists, and to save to; empty: none
  std::size_t save_every = 0;   ///< steps between saves; 0: only when interrupted
  std::function<bool()> interrupted{};                                   ///< asked after each step; true: save and stop
  std::function<void(std::size_t step, double loss)> after_step{};       ///< called after each step
};

struct FitResult {
  std::size_t steps = 0;  ///< done in all, resumed ones included
  double loss = 0;        ///< mean over the last log interval
  double seconds = 0;     ///< of this call
  bool finished = false;  ///< false: interrupted
};

namespace detail {

/// Mean of what was added since it was last taken.
class RunningMean {
 public:
  void add(double x) { sum_ += x, ++count_; }
  double value() const { return count_ ? sum_ / static_cast<double>(count_) : 0; }
  void reset() { sum_ = 0, count_ = 0; }

 private:
  double sum_ = 0;
  std::size_t count_ = 0;
};

/// Takes the memory of the largest step there will be: a whole batch of `longest` tokens, forward and backward, whose
/// gradients are dropped. What comes later is no larger, so the pool can serve it.
template <class Model, class Device>
void rehearse(const Model& model, Tape<Device>& tape, std::size_t longest, std::vector<Example>& examples) {
  const std::size_t positions = std::min(longest, Model::spec::config.context);  // one token more is a target alone
  for (Example& e : examples) {
    e.tokens.reserve(longest);
    e.tokens.assign(positions, 0);
    e.labels.assign(positions, 0);
    e.prompt = 0;
  }
  const Batch<Device> batch = collate<Device>(examples);
  for (Example& e : examples) e.labels.clear();
  const auto recording = tape.record();
  backward(model.loss(batch.tokens, batch.layout, batch.targets));
}

}  // namespace detail

/// Trains the trainable parameters of `model` on `stream` with AdamW, linear warm-up, cosine decay and clipping.
///
/// `model.loss(tokens, layout, targets)` must be a scalar Var. Frozen parameters cannot change: they have no gradient
/// and the optimizer never sees them. Throws `Error` naming the parameter where a gradient is not finite.
template <class Model, ExampleStream Stream>
FitResult fit(Model& model, Stream stream, const FitOptions& options) {
  using Device = typename Model::device;
  using Clock = std::chrono::steady_clock;
  AdamW optimizer(model, options.adamw);
  std::size_t step = 0;
  if (!options.checkpoint.empty() && std::filesystem::exists(options.checkpoint)) {
    step = optimizer.load(options.checkpoint);
  }
  std::optional<MetricsLog> log;
  if (!options.metrics.empty()) log.emplace(options.metrics);
  Progress progress(options.name, options.steps, options.progress);

  std::vector<Example> examples(options.batch_size);
  Tape<Device> tape;
  std::optional<CpuPool::Sparing> sparing;  // once the parameters have the gradients that they keep
  if (options.longest > 0) detail::rehearse(model, tape, options.longest, examples);
  optimizer.zero_gradients();  // those of the rehearsal, and any that a run left which ended in an exception
  detail::RunningMean mean;
  FitResult result;
  const auto begin = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  std::size_t tokens = 0;
  for (; step < options.steps; ++step) {
    for (std::size_t j = 0; j < options.batch_size; ++j) stream(step * options.batch_size + j, examples[j]);
    const Batch<Device> batch = collate<Device>(examples);
    double loss = 0;
    {
      const auto recording = tape.record();
      const auto scalar = model.loss(batch.tokens, batch.layout, batch.targets);
      loss = static_cast<double>(value(scalar)[0]);
      backward(scalar);
    }
    const double norm = optimizer.clip_gradients(options.clip_norm);
    const double rate =
        warmup_cosine(step, options.warmup_steps, options.steps, options.learning_rate, options.final_fraction);
    optimizer.step(rate);
    optimizer.zero_gradients();
    if (!sparing) sparing.emplace();

    mean.add(loss);
    tokens += batch.token_count;
    result.loss = mean.value();
    const double rate_of_tokens = static_cast<double>(tokens) / seconds();
    progress.update(step + 1, loss, rate_of_tokens);
    if ((step + 1) % options.log_every == 0 || step + 1 == options.steps) {
      if (log) {
        log->write({.step = step + 1, .loss = mean.value(), .learning_rate = rate, .gradient_norm = norm,
                    .tokens_per_second = rate_of_tokens, .seconds = seconds()});
      }
      mean.reset();
    }
    if (options.after_step) options.after_step(step + 1, loss);
    const bool stop = options.interrupted && options.interrupted();
    const bool due = options.save_every > 0 && (step + 1) % options.save_every == 0;
    if (!options.checkpoint.empty() && (stop || due)) optimizer.save(options.checkpoint, step + 1);
    if (stop) {
      ++step;
      break;
    }
  }
  result.steps = step;
  result.seconds = seconds();
  result.finished = step == options.steps;
  progress.finish();
  return result;
}

}  // namespace calm::train
