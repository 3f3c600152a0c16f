/// \file  What a pair's program is told on its command line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <CLI/CLI.hpp>

#include "tools/generate/settings.hpp"

namespace calm::programs {

struct ComposeSettings {
  std::string anchor, augment, out = "composed", data;
  bool control = false;
  bool random_augment = false;  ///< a control's; not of the command line

  double held_out = 0.1;       ///< share of the lines; 1 or more: their number
  double choose_on = 0.1;      ///< likewise
  std::size_t max_length = 0;  ///< tokens of a line; 0: the anchor's context
  std::string too_long = "refuse";
  std::string chat_turns = "all";

  std::size_t steps = 1000, batch = 16, accumulate = 1, warmup = 50, patience = 0;
  double learning_rate = 1e-3;
  std::uint64_t seed = 0;
  std::size_t evaluate_every = 100, save_every = 100, evaluated = 200;
  std::string features = "auto";
  bool fresh = false;

  std::vector<std::string> prompts;
  GenerateSettings generate;
};

inline void add_options(CLI::App& app, ComposeSettings& s) {
  const auto number = [&]<class T>(const char* name, T& value, const char* what) {
    CLI::Option* const option = app.add_option(name, value, what)->capture_default_str();
    return std::is_unsigned_v<T> ? option->check(not_negative) : option;
  };
  app.add_option("anchor", s.anchor, "the folder of the model that is extended")->required();
  app.add_option("augment", s.augment, "the folder of the model that it reads")->required();
  number("--out", s.out, "the folder of all that is written");
  app.add_option("--data", s.data,
                 "JSONL to train on, lines of {\"text\"}, {\"prompt\", \"completion\"} or {\"messages\"}");
  number("--held-out", s.held_out, "share of the lines kept for the results; 1 or more: how many");
  number("--choose-on", s.choose_on,
         "share of the lines kept to choose the best bridges by; 1 or more: how many; 0: the last bridges are kept");
  number("--max-length", s.max_length, "tokens of a line; 0: the anchor's context");
  number("--too-long", s.too_long, "what to do with longer lines: refuse, cut or drop")
      ->check(CLI::IsMember({"refuse", "cut", "drop"}));
  number("--chat-turns", s.chat_turns, "what is learned of a chat: all that the assistant says, or the last of it")
      ->check(CLI::IsMember({"all", "last"}));
  number("--steps", s.steps, "of training, in all: a run that has fewer goes on");
  number("--batch", s.batch, "examples of a step")->check(positive);
  number("--accumulate", s.accumulate, "in how many parts a step passes them: less memory, the same step")
      ->check(positive);
  number("--learning-rate", s.learning_rate, "after warm-up; it falls to a tenth along a cosine");
  number("--warmup", s.warmup, "steps of warm-up");
  number("--seed", s.seed, "of the bridges, of which lines are for what, and of their order");
  number("--evaluate-every", s.evaluate_every, "steps between losses on the lines that choose the best bridges")
      ->check(positive);
  number("--save-every", s.save_every, "steps between checkpoints; 0: only when interrupted");
  number("--patience", s.patience, "such losses without a better one before training stops; 0: it never does");
  number("--evaluated", s.evaluated, "held-out lines that are decoded for exact match, at most");
  app.add_flag("--control", s.control, "train bridges to an augment of random weights, too, and compare");
  number("--features", s.features,
         "what the frozen models make of a line: auto, on disk while the run lasts, where that pays; keep, also behind "
         "its end; none, computed each time")
      ->check(CLI::IsMember({"auto", "keep", "none"}));
  app.add_flag("--fresh", s.fresh, "train anew, whatever is in --out");
  app.add_option("--generate", s.prompts, "a prompt to continue with the bridges; may be given several times")
      ->allow_extra_args(false);
  add_options(app, s.generate);
}

}  // namespace calm::programs
