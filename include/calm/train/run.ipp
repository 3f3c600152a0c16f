/// \file  Definitions of run.hpp.
#pragma once

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calm/train/checkpoint.hpp"
#include "calm/train/kept_parameters.hpp"
#include "calm/train/metrics.hpp"
#include "calm/train/non_finite.hpp"
#include "calm/train/progress.hpp"
#include "calm/train/run.hpp"
#include "calm/train/run_state.hpp"
#include "calm/train/schedule.hpp"

namespace calm::train::detail {

class Run {
 public:
  Run(const FitOptions& options, const RunParts& parts, AnyOptimizer& optimizer)
      : options_(options), parts_(parts), optimizer_(optimizer), best_(optimizer.entries()),
        progress_(options.name, options.steps, options.progress), examples_(options.batch_size) {
    check_options();
  }

  FitResult operator()() {
    resume();
    if (options_.longest > 0) parts_.rehearse(examples_);
    optimizer_.zero_gradients();  // those of the rehearsal, and any that a run left which ended in an exception
    begin_ = Clock::now();
    bool interrupted = false;
    while (!interrupted && state_.step < options_.steps && !out_of_patience()) {
      if (!step()) continue;
      interrupted = options_.interrupted && options_.interrupted();
      const bool due = options_.save_every > 0 && state_.step % options_.save_every == 0;
      if (folder_ && (interrupted || due)) save();
    }
    return result();
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// Takes a step; false if the run was rolled back instead.
  bool step() {
    StepLoss made;
    GradientNorm norm;
    if (state_.is_bad(state_.step)) {
      ++state_.skipped;
    } else {
      const std::uint64_t first = state_.step * examples_.size();
      for (std::size_t j = 0; j < examples_.size(); ++j) parts_.stream(first + j, examples_[j]);
      made = parts_.gradients(examples_);
      norm = optimizer_.gradient_norm();
      const std::string wrong = non_finite_text(made.loss, norm, optimizer_.updates());
      if (wrong.empty()) {
        update(made, norm);
      } else if (rolls_back(wrong)) {
        return false;
      }
      optimizer_.zero_gradients();
      if (!sparing_) sparing_.emplace();  // once the parameters have the gradients that they keep
    }
    ++state_.step;
    report(made, norm);
    evaluate();
    if (options_.after_step) options_.after_step(state_.step, made.loss);
    return true;
  }

  void update(const StepLoss& made, const GradientNorm& norm) {
    optimizer_.clip_gradients(options_.clip_norm, norm.value);
    optimizer_.step(rate());
    state_.skipped_in_a_row = 0;
    state_.loss_sum += made.loss;
    ++state_.loss_count;
  }

  /// The learning rate of the step to come (or, in `report`, of the last).
  double rate(std::uint64_t back = 0) const {
    const Schedule schedule{options_.decay, options_.learning_rate, options_.warmup_steps, options_.steps,
                            options_.final_fraction};
    return schedule(state_.step - back) *
           std::pow(options_.roll_back_rate, static_cast<double>(state_.bad_steps.size()));
  }

  void report(const StepLoss& made, const GradientNorm& norm) {
    positions_ += made.positions;
    const double speed = static_cast<double>(positions_) / seconds();
    progress_.update(state_.step, made.loss, speed);
    last_loss_ = state_.mean_loss();
    if (state_.step % options_.log_every != 0 && state_.step != options_.steps) return;
    if (log_) {
      log_->write({.step = state_.step, .loss = last_loss_, .learning_rate = rate(1),
                          .gradient_norm = norm.value, .tokens_per_second = speed, .seconds = seconds()});
    }
    state_.loss_sum = 0;
    state_.loss_count = 0;
  }

  void evaluate() {
    if (!options_.evaluate) return;
    if (state_.step % options_.evaluate_every != 0 && state_.step != options_.steps) return;
    const double found = options_.evaluate();
    if (state_.evaluations.add(found, state_.step) && options_.keep_best) best_.take();
    if (log_) log_->write_evaluation({state_.step, found, state_.evaluations.best, state_.evaluations.best_step});
  }

  bool out_of_patience() const { return options_.patience > 0 && state_.evaluations.worse >= options_.patience; }

  /// Does what the options say of a step whose loss or gradient is no number; true if the run stands elsewhere now.
  bool rolls_back(const std::string& wrong) {
    optimizer_.zero_gradients();
    const std::string what = "step " + std::to_string(state_.step + 1) + ": " + wrong;
    if (options_.non_finite == NonFinite::stop)
      throw Error("calm::train::fit: " + what + "; lower the learning rate, or set non_finite to skip or roll_back");
    const bool back = options_.non_finite == NonFinite::roll_back;
    const std::size_t times = 1 + (back ? state_.bad_steps.size() : state_.skipped_in_a_row);
    calm::detail::require(times <= options_.non_finite_limit, [&] {
      return "calm::train::fit: " + what + ", and before it " + std::to_string(times - 1) +
             (back ? " steps that were rolled back" : " skipped steps in a row") + "; lower the learning rate";
    });
    if (back) {
      roll_back(what);
      return true;
    }
    ++state_.skipped;
    ++state_.skipped_in_a_row;
    tell(state_.step + 1, "skipped " + what);
    return false;
  }

  /// Only regular checkpoints count, so that an interruption changes nothing; and only those from before the step: one
  /// at the step itself may hold what made it fail. Until the next save, a killed run comes here again.
  void roll_back(const std::string& what) {
    const std::uint64_t bad = state_.step;
    auto bad_steps = state_.bad_steps;
    bad_steps.push_back(bad);
    const auto wanted = [&](std::uint64_t s) { return s % options_.save_every == 0 && (s < bad || bad == 0); };
    const auto found = folder_->load_newest(wanted, [this](const std::string& f) { load(f); }, warning());
    calm::detail::require(found.has_value(), [&] {
      return "calm::train::fit: " + what + ", and " + folder_->path() + " has no checkpoint from before it";
    });
    for (const std::uint64_t s : folder_->steps()) {
      if (s > *found) folder_->discard(s);
    }
    state_.bad_steps = std::move(bad_steps);
    cut_log();
    tell(bad + 1, "rolled back to step " + std::to_string(*found) + " from " + what);
  }

  void resume() {
    std::optional<std::uint64_t> found;
    if (!options_.checkpoint.empty()) {
      folder_.emplace(options_.checkpoint);
      found = folder_->load_newest([](std::uint64_t) { return true; }, [this](const std::string& f) { load(f); },
                                   warning());
    }
    if (!options_.metrics.empty()) log_.emplace(options_.metrics);
    if (found) cut_log();
    if (folder_ && !found && options_.save_every > 0) save();  // from where a kill before the first save goes on
  }

  void load(const std::string& folder) {
    const io::SafetensorsFile file = io::SafetensorsFile::open(folder + "/state.safetensors");
    RunState state;
    state.visit(RunStateReader(file));
    KeptParameters best(optimizer_.entries());
    if (options_.keep_best && state.evaluations.best_step > 0) best.load(folder + "/best.safetensors");
    optimizer_.load(file);
    state_ = std::move(state);
    best_ = std::move(best);
  }

  void save() {
    state_.log = options_.metrics;
    state_.log_bytes = log_ ? log_->position() : 0;
    folder_->save(state_.step, [&](const std::string& folder) {
      io::SafetensorsWriter writer;
      optimizer_.add_to(writer);
      state_.visit(RunStateWriter(writer));
      writer.add_digest();
      writer.save(folder + "/state.safetensors");
      if (!best_.empty()) best_.save(folder + "/best.safetensors");
    });
    folder_->prune(options_.keep, options_.save_every);
  }

  /// Drops the lines behind the checkpoint, which will be written again.
  void cut_log() {
    if (log_ && state_.log == log_->path()) log_->cut(state_.log_bytes);
  }

  std::function<void(const std::string&)> warning() const {
    return options_.warn ? options_.warn : [](const std::string&) {};
  }

  void tell(std::uint64_t step, const std::string& event) {
    if (log_) log_->write_event(step, event);
    warning()("calm::train::fit: " + event);
  }

  FitResult result() {
    FitResult r{.steps = state_.step, .loss = last_loss_, .seconds = seconds()};
    r.stopped_early = state_.step < options_.steps && out_of_patience();
    r.finished = state_.step >= options_.steps || r.stopped_early;
    r.best = state_.evaluations.best;
    r.best_step = state_.evaluations.best_step;
    r.skipped = state_.skipped;
    r.roll_backs = state_.bad_steps.size();
    if (r.finished) best_.restore();
    progress_.finish();
    return r;
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void check_options() const {
    const auto expect = [](bool is_right, const char* what) {
      calm::detail::require(is_right, [&] { return std::string("calm::train::fit: ") + what; });
    };
    const FitOptions& o = options_;
    expect(o.accumulate >= 1 && (o.accumulate == 1 || o.accumulate <= o.batch_size),
           "accumulate: expected at least 1 and at most batch_size parts; each needs an example");
    expect(o.log_every >= 1, "log_every: expected at least 1 step");
    expect(!o.evaluate || o.evaluate_every >= 1, "evaluate_every: expected at least 1 step");
    expect(o.evaluate || (o.patience == 0 && !o.keep_best), "patience and keep_best need a function to evaluate");
    expect(o.keep >= 1, "keep: expected at least 1 checkpoint");
    expect(o.non_finite != NonFinite::roll_back || (!o.checkpoint.empty() && o.save_every > 0 && o.keep >= 2),
           "NonFinite::roll_back needs a checkpoint folder, save_every, and keep of at least 2");
  }

  const FitOptions& options_;
  const RunParts& parts_;
  AnyOptimizer& optimizer_;
  RunState state_;
  KeptParameters best_;
  std::optional<CheckpointFolder> folder_;
  std::optional<MetricsLog> log_;
  Progress progress_;
  std::vector<Example> examples_;
  std::optional<CpuPool::Sparing> sparing_;
  Clock::time_point begin_ = Clock::now();
  std::size_t positions_ = 0;
  double last_loss_ = 0;
};

CALM_INLINE FitResult run(const FitOptions& options, const RunParts& parts, AnyOptimizer& optimizer) {
  return Run(options, parts, optimizer)();
}

}  // namespace calm::train::detail
