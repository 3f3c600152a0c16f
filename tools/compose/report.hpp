/// \file  What was measured, for people and for programs.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

namespace calm::programs {

/// What a model makes of held-out lines.
struct Scores {
  double perplexity = 0;                ///< per token of the anchor
  std::optional<double> exact_match{};  ///< share of the answers, greedily decoded; where each line has one answer
};

/// A model and its scores: what people call it, and what results.json does.
struct Row {
  std::string name, key;
  Scores scores;
};

/// The rows as a table:
///
///     held out        perplexity   exact match
///     anchor alone         257.5         0.0 %
inline std::string table_of(std::span<const Row> rows) {
  char line[128];
  const bool exact = !rows.empty() && rows.front().scores.exact_match;
  std::snprintf(line, sizeof line, "%-14s  %12s%s\n", "held out", "perplexity", exact ? "   exact match" : "");
  std::string text = line;
  for (const Row& row : rows) {
    std::snprintf(line, sizeof line, "%-14s  %12.4g", row.name.c_str(), row.scores.perplexity);
    text += line;
    if (exact) {
      std::snprintf(line, sizeof line, "  %10.1f %%", 100 * row.scores.exact_match.value_or(0));
      text += line;
    }
    text += '\n';
  }
  return text;
}

/// {"anchor": {"perplexity": ..., "exact_match": ...}, ...}
inline nlohmann::ordered_json json_of(std::span<const Row> rows) {
  nlohmann::ordered_json json;
  for (const Row& row : rows) {
    json[row.key]["perplexity"] = row.scores.perplexity;
    if (row.scores.exact_match) json[row.key]["exact_match"] = *row.scores.exact_match;
  }
  return json;
}

}  // namespace calm::programs
