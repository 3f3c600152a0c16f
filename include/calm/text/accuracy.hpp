/// \file  Shares of what is right: exact match of texts, accuracy of tokens or classes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "calm/tensor/dtype.hpp"
#include "calm/tensor/error.hpp"
#include "calm/text/references.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// What counts as the same text.
struct ExactMatchOptions {
  bool strip = false;  ///< white space at either end makes no difference
};

namespace detail {

template <class Entry>
double exact_match(std::span<const std::string> hypotheses, std::span<const Entry> references,
                   const ExactMatchOptions& options) {
  check_corpus("exact_match", hypotheses, references);
  const auto view = [&](std::string_view text) { return options.strip ? strip(text) : text; };
  std::size_t right = 0;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const auto mine = references_of(references[i]);
    right += std::ranges::any_of(mine, [&](const std::string& r) { return view(r) == view(hypotheses[i]); });
  }
  return static_cast<double>(right) / static_cast<double>(hypotheses.size());
}

}  // namespace detail

/// The share, 0 to 1, of hypotheses that are byte for byte their reference, or one of them. Throws `Error` if there is
/// no hypothesis, one is without reference, or a text is not UTF-8.
inline double exact_match(std::span<const std::string> hypotheses, std::span<const std::string> references,
                          const ExactMatchOptions& options = {}) {
  return detail::exact_match(hypotheses, references, options);
}
inline double exact_match(std::span<const std::string> hypotheses, std::span<const References> references,
                          const ExactMatchOptions& options = {}) {
  return detail::exact_match(hypotheses, references, options);
}

/// The share, 0 to 1, of predictions equal to their targets, of those with a target: a negative one, as
/// `ignored_target`, is none. Throws `Error` if the numbers of both differ or no position has a target.
inline double accuracy(std::span<const Index> predictions, std::span<const Index> targets) {
  calm::detail::require(predictions.size() == targets.size(), [&] {
    return "calm::text::accuracy: expected a prediction for each of " + std::to_string(targets.size()) +
           " targets, found " + std::to_string(predictions.size());
  });
  std::size_t right = 0, count = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0) continue;
    ++count;
    right += predictions[i] == targets[i];
  }
  calm::detail::require(count > 0, [&] {
    return "calm::text::accuracy: expected at least one target, found none among " + std::to_string(targets.size()) +
           " positions";
  });
  return static_cast<double>(right) / static_cast<double>(count);
}

}  // namespace calm::text
