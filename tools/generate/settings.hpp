/// \file  What a program that generates is told on its command line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "calm/tensor/dtype.hpp"

namespace calm::programs {

/// Of decoding. What is not given is what generation_config.json says, else calm's default.
struct GenerateSettings {
  std::optional<std::size_t> max_new_tokens, top_k;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::uint64_t seed = 0;
  std::vector<std::string> stops;
  std::vector<Index> ends;
  bool log_probabilities = false, json = false, hides_prompt = false;
  bool chat = false;
  std::string system;
  std::size_t together = 8;
};

inline void add_options(CLI::App& app, GenerateSettings& s) {
  app.add_option("--max-new-tokens", s.max_new_tokens, "how long a continuation may be");
  app.add_option("--temperature", s.temperature, "0: always the likeliest token");
  app.add_option("--top-k", s.top_k, "draw from the so many likeliest; 0: from all");
  app.add_option("--top-p", s.top_p, "draw from the likeliest that have this share together");
  app.add_option("--min-p", s.min_p, "draw from those at least this likely, the likeliest being 1");
  app.add_option("--repetition-penalty", s.repetition_penalty, "above 1: makes repetitions less likely");
  app.add_option("--sampling-seed", s.seed, "of the drawing; prompt i draws from stream i")->capture_default_str();
  app.add_option("--stop", s.stops, "text that ends a continuation; may be given several times")->expected(1);
  app.add_option("--end-token", s.ends, "token that ends a continuation, besides the model's; likewise")->expected(1);
  app.add_flag("--log-probabilities", s.log_probabilities, "print that of each new token, in nats");
  app.add_flag("--json", s.json, "print a line of JSON for each prompt, when it is done");
  app.add_flag("--no-prompt", s.hides_prompt, "print what is new alone");
  app.add_flag("--chat", s.chat, "a prompt is what a user says; the model's chat template makes a text of it");
  app.add_option("--system", s.system, "the system's message in a chat")->needs("--chat");
  app.add_option("--together", s.together, "how many prompts are decoded together")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace calm::programs
