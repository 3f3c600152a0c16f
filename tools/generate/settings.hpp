/// \file  What a program that generates is told on its command line.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "calm/tensor/dtype.hpp"
#include "calm/tensor/error.hpp"

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
  std::string system, date;
  std::size_t together = 8;
};

/// The day YYYY-MM-DD; nothing of nothing. Throws `Error` for what is no day.
inline std::optional<std::chrono::sys_seconds> day_of(const std::string& date) {
  if (date.empty()) return std::nullopt;
  int year = 0, end = 0;
  unsigned month = 0, day = 0;
  const bool reads = std::sscanf(date.c_str(), "%4d-%2u-%2u%n", &year, &month, &day, &end) == 3;
  const std::chrono::year_month_day ymd{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  if (!reads || date.size() != static_cast<std::size_t>(end) || !ymd.ok())
    throw Error("--date: expected a day as YYYY-MM-DD, found \"" + date + "\"");
  return std::chrono::sys_days(ymd);
}

/// For options that count: CLI11 reads -3 as 2^64 - 3.
inline const CLI::Validator not_negative{
    [](const std::string& text) { return text.starts_with('-') ? "expected no number below 0, found " + text : ""; },
    ""};
inline const CLI::Validator positive{
    [](const std::string& text) {
      return std::atof(text.c_str()) > 0 ? "" : "expected a number above 0, found " + text;
    },
    ""};

inline void add_options(CLI::App& app, GenerateSettings& s) {
  app.add_option("--max-new-tokens", s.max_new_tokens, "how long a continuation may be")->check(not_negative);
  app.add_option("--temperature", s.temperature, "0: always the likeliest token");
  app.add_option("--top-k", s.top_k, "draw from the so many likeliest; 0: from all")->check(not_negative);
  app.add_option("--top-p", s.top_p, "draw from the likeliest that have this share together");
  app.add_option("--min-p", s.min_p, "draw from those at least this likely, the likeliest being 1");
  app.add_option("--repetition-penalty", s.repetition_penalty, "above 1: makes repetitions less likely");
  app.add_option("--sampling-seed", s.seed, "of the drawing; prompt i draws from stream i")
      ->check(not_negative)
      ->capture_default_str();
  app.add_option("--stop", s.stops, "text that ends a continuation; may be given several times")
      ->allow_extra_args(false);
  app.add_option("--end-token", s.ends, "token that ends a continuation, besides the model's; likewise")
      ->allow_extra_args(false);
  app.add_flag("--log-probabilities", s.log_probabilities, "print that of each new token, in nats");
  app.add_flag("--json", s.json, "print a line of JSON for each prompt, when it is done");
  app.add_flag("--no-prompt", s.hides_prompt, "print what is new alone");
  app.add_flag("--chat", s.chat, "a prompt is what a user says; the model's chat template makes a text of it");
  app.add_option("--date", s.date, "YYYY-MM-DD, for chat templates that say what day it is");
  app.add_option("--system", s.system, "the system's message in a chat")->needs("--chat");
  app.add_option("--together", s.together, "how many prompts are decoded together")
      ->check(positive)
      ->capture_default_str();
}

}  // namespace calm::programs
