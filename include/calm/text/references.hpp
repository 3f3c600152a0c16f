/// \file  Hypotheses and the references that they are measured against: the checks that all text metrics share.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// The references of one hypothesis; at least one. (sacreBLEU's lists run the other way: one per set of references.)
using References = std::vector<std::string>;

/// The sacreBLEU whose numbers bleu.hpp and chrf.hpp give, and that their signatures name.
inline constexpr std::string_view sacrebleu_version = "2.6.0";

namespace detail {

/// Throws `Error`, in the name of `metric`, unless `text` is UTF-8.
inline void check_utf8(std::string_view metric, std::string_view what, std::size_t i, std::string_view text) {
  const std::size_t at = find_invalid_utf8(text);
  calm::detail::require(at == std::string_view::npos, [&] {
    return "calm::text::" + std::string(metric) + ": " + std::string(what) + " " + std::to_string(i) +
           ": expected UTF-8, found an invalid byte at " + std::to_string(at) +
           "; calm::text::repair_utf8 replaces what is invalid by U+FFFD";
  });
}

inline std::span<const std::string> references_of(const References& references) { return references; }
inline std::span<const std::string> references_of(const std::string& reference) { return {&reference, 1}; }

/// Throws `Error` unless there are hypotheses, as many entries of references, none of those empty, and all is UTF-8.
/// What sacreBLEU's signatures say of the number of references: the number, or "var".
template <class Entry>
std::string check_corpus(std::string_view metric, std::span<const std::string> hypotheses,
                         std::span<const Entry> references) {
  const std::string name = "calm::text::" + std::string(metric);
  calm::detail::require(!hypotheses.empty(),
                        [&] { return name + ": expected at least one hypothesis, found none"; });
  calm::detail::require(hypotheses.size() == references.size(), [&] {
    return name + ": expected references for each of " + std::to_string(hypotheses.size()) + " hypotheses, found " +
           std::to_string(references.size()) + "; entry i holds the references of hypothesis i";
  });
  const std::size_t count = references_of(references[0]).size();
  bool varies = false;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const auto mine = references_of(references[i]);
    calm::detail::require(!mine.empty(), [&] {
      return name + ": hypothesis " + std::to_string(i) + ": expected at least one reference, found none";
    });
    varies = varies || mine.size() != count;
    check_utf8(metric, "hypothesis", i, hypotheses[i]);
    for (const std::string& reference : mine) check_utf8(metric, "a reference of hypothesis", i, reference);
  }
  return varies ? "var" : std::to_string(count);
}

}  // namespace detail
}  // namespace calm::text
