/// \file  What a training run is told, and what it tells at its end.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <string>

#include "calm/train/adamw.hpp"
#include "calm/train/non_finite.hpp"
#include "calm/train/parameter_group.hpp"
#include "calm/train/schedule.hpp"

namespace calm::train {

/// A training run: how long, at what rates, and what is kept of it. All has a default.
struct FitOptions {
  std::size_t steps = 1000;
  std::size_t batch_size = 32;  ///< examples per step
  std::size_t accumulate = 1;   ///< in how many parts a step passes its examples: less memory, the same step
  std::size_t longest = 0;      ///< tokens of the longest example: its memory is taken at once; 0: as batches come
  double learning_rate = 1e-3;  ///< after warm-up
  double final_fraction = 0.1;  ///< of the learning rate, where it ends
  std::size_t warmup_steps = 50;
  Decay decay = Decay::cosine;  ///< of the learning rate, after warm-up
  double clip_norm = 1.0;       ///< of all gradients together; 0: no clipping
  AdamWOptions adamw{};         ///< unless `fit` is given an optimizer
  ParameterGroups groups{};     ///< likewise

  std::function<double()> evaluate{};  ///< a number to make small (`mean_loss` on held-out texts); changes nothing
  std::size_t evaluate_every = 100;    ///< steps; the last step is followed by an evaluation, too
  std::size_t patience = 0;            ///< evaluations without a better one before the run stops; 0: it never does
  bool keep_best = false;              ///< end with the parameters of the best evaluation

  NonFinite non_finite = NonFinite::stop;
  std::size_t non_finite_limit = 10;  ///< `Error` after more skipped steps in a row, or more roll-backs in all
  double roll_back_rate = 0.5;        ///< what each roll-back multiplies the learning rates by

  std::string name = "train";   ///< of the progress line
  bool progress = true;         ///< a progress line, on a terminal only
  std::string metrics{};        ///< a JSONL file to append to; empty: none
  std::size_t log_every = 50;   ///< steps
  std::string checkpoint{};     ///< a folder of checkpoints, to resume from and to save to; empty: none
  std::size_t save_every = 0;   ///< steps between saves, the first before step 1; 0: only when interrupted
  std::size_t keep = 3;         ///< checkpoints
  std::function<bool()> interrupted{};                              ///< asked after each step; true: save and stop
  std::function<void(std::size_t step, double loss)> after_step{};  ///< called after each step
  std::function<void(const std::string&)> warn{};  ///< told what a run lives with: steps skipped, checkpoints damaged
};

/// What came of a training run.
struct FitResult {
  std::size_t steps = 0;  ///< done in all, resumed ones included
  double loss = 0;        ///< nats per token, the mean over the last log interval
  double seconds = 0;     ///< of this call
  bool finished = false;  ///< false: interrupted
  bool stopped_early = false;  ///< finished, since `patience` was at its end
  double best = std::numeric_limits<double>::infinity();  ///< the lowest evaluation
  std::size_t best_step = 0;                              ///< 0: none
  std::size_t skipped = 0;     ///< steps whose batch was dropped
  std::size_t roll_backs = 0;
};

}  // namespace calm::train
