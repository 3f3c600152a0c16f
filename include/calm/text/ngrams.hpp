/// \file  Counts of n-grams, of characters or of words.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

namespace calm::text {

/// How often each n-gram occurs. The keys are views into the sequence that was counted, which must outlive them.
using NgramCounts = std::unordered_map<std::u32string_view, std::size_t>;

/// The n-grams of one length `n` >= 1 in a sequence of symbols: code points, or words as `WordNumbers` numbers them.
inline NgramCounts count_ngrams(std::u32string_view symbols, std::size_t n) {
  NgramCounts counts;
  if (symbols.size() < n) return counts;
  counts.reserve(symbols.size() - n + 1);
  for (std::size_t i = 0; i + n <= symbols.size(); ++i) ++counts[symbols.substr(i, n)];
  return counts;
}

/// How many n-grams two texts share: each as often as the rarer of both has it.
inline std::size_t count_matches(const NgramCounts& hypothesis, const NgramCounts& reference) {
  std::size_t matches = 0;
  for (const auto& [ngram, count] : hypothesis) {
    const auto found = reference.find(ngram);
    if (found != reference.end()) matches += std::min(count, found->second);
  }
  return matches;
}

/// Gives equal words equal numbers, so that n-grams of words are n-grams of symbols. One for texts that are compared.
class WordNumbers {
 public:
  template <class Words>
  std::u32string operator()(const Words& words) {
    std::u32string out;
    out.reserve(words.size());
    for (const auto& word : words)
      out += numbers_.try_emplace(std::string(word), static_cast<char32_t>(numbers_.size())).first->second;
    return out;
  }

 private:
  std::unordered_map<std::string, char32_t> numbers_;
};

}  // namespace calm::text
