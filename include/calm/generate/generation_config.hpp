/// \file  How a model's makers would have it decoded: generation_config.json.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "calm/generate/options.hpp"
#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/io/json_file.hpp"

namespace calm {

namespace detail {

/// Fields that say nothing of how tokens are chosen, or nothing to calm: `max_length` counts the prompt, `pad_token_id`
/// and `bos_token_id` are the tokenizer's, caches are always used.
inline constexpr std::array<std::string_view, 12> idle_generation_fields{
    "bos_token_id", "cache_implementation", "decoder_start_token_id", "max_length", "min_length", "output_attentions",
    "output_hidden_states", "output_scores", "pad_token_id", "return_dict_in_generate", "transformers_version",
    "use_cache"};

/// Fields of policies that calm lacks, with the value at which they do nothing.
inline constexpr std::array<std::pair<const char*, double>, 12> absent_policies{{
    {"typical_p", 1},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"no_repeat_ngram_size", 0},
    {"encoder_no_repeat_ngram_size", 0},
    {"encoder_repetition_penalty", 1},
    {"diversity_penalty", 0},
    {"length_penalty", 1},
    {"guidance_scale", 1},
    {"num_beams", 1},
    {"num_beam_groups", 1},
    {"num_return_sequences", 1},
}};

inline void read_stop_strings(io::JsonFields& f, GenerateOptions& options) {
  const nlohmann::json* stops = f.find("stop_strings");
  if (stops == nullptr) return;
  options.stop_strings.clear();
  for (const auto& stop : stops->is_array() ? *stops : nlohmann::json::array({*stops})) {
    if (!stop.is_string() || stop.get<std::string>().empty()) f.fail("stop_strings", "expected text that is not empty");
    options.stop_strings.push_back(stop.get<std::string>());
  }
}

/// Without `do_sample` a model decodes greedily, whatever else the file says of drawing, as in transformers.
inline void read_sampling(io::JsonFields& f, GenerateOptions& options) {
  const double temperature = f.positive("temperature", 1.0), top_p = f.positive("top_p", 1.0);
  const std::size_t top_k = f.count_or_none("top_k", 50);
  const bool has_min_p = f.has("min_p") && *f.find("min_p") != 0;
  const double min_p = has_min_p ? f.positive("min_p") : 0;
  if (top_p > 1) f.fail("top_p", "expected at most 1");
  if (min_p > 1) f.fail("min_p", "expected at most 1");
  if (!f.flag("do_sample", false)) {
    options.temperature = 0;
    return;
  }
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  options.min_p = min_p;
}

}  // namespace detail

/// `options` with what the generation_config.json at `path` says in their place. The caller's own come last:
///
///     auto options = calm::read_generation_config("model/generation_config.json");  // the file before calm's defaults
///     options.max_new_tokens = 20;                                                  // the call before the file
///
/// Absent fields of drawing mean what they mean in transformers (temperature 1, the 50 likeliest tokens). Stop strings
/// need `text_of`. Throws `Error` for fields that calm does not know and policies that it lacks, by name.
inline GenerateOptions read_generation_config(const std::string& path, GenerateOptions options = {}) {
  const nlohmann::json json = io::read_json(path);
  io::JsonFields f(path, json);
  detail::read_sampling(f, options);
  if (f.has("eos_token_id")) options.end_tokens = f.tokens("eos_token_id");
  detail::read_stop_strings(f, options);
  options.max_new_tokens = f.count("max_new_tokens", options.max_new_tokens);
  options.repetition_penalty = f.positive("repetition_penalty", options.repetition_penalty);
  for (const auto& [key, neutral] : detail::absent_policies) {
    const nlohmann::json* value = f.find(key);
    if (value != nullptr && *value != neutral) f.fail(key, "calm has no such policy; remove it to do without");
  }
  f.finish(detail::idle_generation_fields);
  return options;
}

}  // namespace calm
