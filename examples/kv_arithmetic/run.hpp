/// \file  The settings of the experiment, and its scales: each is compiled in a file of its own.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>

namespace kv {

/// How a model is trained.
struct Training {
  std::size_t steps;
  std::size_t batch_size;
  double learning_rate;
  double weight_decay = 0.1;
  double deviation = 0.02;  ///< of fresh matrices
};

struct Settings {
  std::uint64_t seed = 1;         ///< the first seed
  std::size_t seeds = 1;          ///< how many the table is made of
  std::uint64_t anchor_seed = 1;  ///< of the anchor, which knows no keys: one serves all seeds
  std::string bases = "bases";    ///< where base models are kept
  std::string out = "results";    ///< where bridges, metrics and the table go
  bool retrain = false;           ///< train what is there once more
  bool all = false;               ///< full fine-tuning and proxy-tuning in the table, too
  bool progress = true;
  std::size_t shown = 3;         ///< expressions that `data` shows
  std::string question{};        ///< what `ask` asks
  std::size_t evaluated = 1000;  ///< expressions per set
  Training augment{6000, 96, 3e-3};
  Training anchor{12000, 96, 2e-3};
  Training composition{1000, 64, 6e-3};
  Training full{1000, 64, 1e-3};  ///< fine-tuning a whole model on D_C
};

/// Set by a signal: training runs save what they have and stop.
inline volatile std::sig_atomic_t interrupted = 0;

/// The default: what two CPU cores train in minutes. 1 000 keys with the values 0 to 999, two or three operands.
void run_default_scale(const std::string& command, const Settings& settings);
/// The table of bridges, at the default scale.
void bridges(const Settings& settings);
/// The numbers of the paper's §4.1: 25 000 keys and values, three to six operands. For a GPU.
void run_paper_scale(const std::string& command, const Settings& settings);

}  // namespace kv
