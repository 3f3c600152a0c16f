/// \file  BLEU, equal to sacreBLEU's.
///
/// Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation"; n-grams of 1 to 4 words,
/// tokenization 13a, case kept; the exponential smoothing of mteval-v13a.pl (Chen and Cherry 2014, method 3).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calm/text/ngrams.hpp"
#include "calm/text/references.hpp"
#include "calm/text/tokenize_13a.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// The longest n-gram, in words.
inline constexpr std::size_t bleu_order = 4;

/// How BLEU counts.
struct BleuOptions {
  /// Counts only the lengths of n-gram that the hypotheses are long enough to have. For single sentences.
  bool effective_order = false;
};

/// What BLEU is made of; those of a corpus are the sums over its sentences.
struct BleuCounts {
  std::size_t hypothesis_words = 0;
  std::size_t reference_words = 0;  ///< of the reference closest in length, the shorter of two that are equally close
  std::array<std::size_t, bleu_order> matches{};  ///< n-grams that a reference has too, of 1, 2, 3, 4 words
  std::array<std::size_t, bleu_order> totals{};   ///< n-grams of the hypothesis

  BleuCounts& operator+=(const BleuCounts& other) {
    hypothesis_words += other.hypothesis_words;
    reference_words += other.reference_words;
    for (std::size_t n = 0; n < bleu_order; ++n) {
      matches[n] += other.matches[n];
      totals[n] += other.totals[n];
    }
    return *this;
  }
};

/// BLEU, and what it was made of (Papineni et al. 2002).
struct BleuScore {
  double score = 0;                            ///< 0 to 100
  std::array<double, bleu_order> precisions{};  ///< 0 to 100, smoothed
  double brevity_penalty = 0;                  ///< 0 to 1
  BleuCounts counts;
  std::string signature;  ///< what a table must say of this number, as sacreBLEU writes it
};

namespace detail {

inline std::u32string bleu_words(const std::string& text, WordNumbers& numbers) {
  const std::string tokenized = tokenize_13a(strip_right(text));
  return numbers(split_at_space(tokenized));
}

/// `texts` must be valid UTF-8, and at least one reference.
inline BleuCounts bleu_counts(const std::string& hypothesis, std::span<const std::string> references) {
  WordNumbers numbers;
  const std::u32string words = bleu_words(hypothesis, numbers);
  std::vector<std::u32string> others;
  for (const std::string& reference : references) others.push_back(bleu_words(reference, numbers));

  BleuCounts counts;
  counts.hypothesis_words = words.size();
  const auto distance = [&](std::size_t n) { return n > words.size() ? n - words.size() : words.size() - n; };
  counts.reference_words = others.front().size();
  for (const auto& other : others) {
    const std::size_t here = distance(other.size()), best = distance(counts.reference_words);
    if (here < best || (here == best && other.size() < counts.reference_words)) counts.reference_words = other.size();
  }
  for (std::size_t n = 1; n <= bleu_order; ++n) {
    NgramCounts most;  // in any one reference
    for (const auto& other : others) {
      for (const auto& [ngram, count] : count_ngrams(other, n)) most[ngram] = std::max(most[ngram], count);
    }
    counts.matches[n - 1] = count_matches(count_ngrams(words, n), most);
    counts.totals[n - 1] = words.size() < n ? 0 : words.size() - n + 1;
  }
  return counts;
}

}  // namespace detail

/// BLEU from its counts; the signature is left empty.
inline BleuScore bleu_of(const BleuCounts& counts, const BleuOptions& options = {}) {
  BleuScore out;
  out.counts = counts;
  const auto hypothesis = static_cast<double>(counts.hypothesis_words);
  const auto reference = static_cast<double>(counts.reference_words);
  out.brevity_penalty = hypothesis >= reference ? 1 : hypothesis > 0 ? std::exp(1 - reference / hypothesis) : 0;
  if (std::ranges::all_of(counts.matches, [](std::size_t m) { return m == 0; })) return out;

  std::size_t order = bleu_order;
  double halvings = 1;  // the smoothing: the k-th length without a match counts as 1 / 2^k of a match
  for (std::size_t n = 0; n < bleu_order && counts.totals[n] > 0; ++n) {
    if (options.effective_order) order = n + 1;
    const auto total = static_cast<double>(counts.totals[n]);
    if (counts.matches[n] == 0) halvings *= 2;
    out.precisions[n] = counts.matches[n] == 0 ? 100 / (halvings * total)
                                               : 100 * static_cast<double>(counts.matches[n]) / total;
  }
  double logs = 0;
  for (std::size_t n = 0; n < order; ++n) {
    if (out.precisions[n] == 0) return out;  // no n-gram so long: the geometric mean is 0
    logs += std::log(out.precisions[n]);
  }
  out.score = out.brevity_penalty * std::exp(logs / static_cast<double>(order));
  return out;
}

namespace detail {

template <class Entry>
BleuScore corpus_bleu(std::string_view name, std::span<const std::string> hypotheses,
                      std::span<const Entry> references, const BleuOptions& options) {
  const std::string count = check_corpus(name, hypotheses, references);
  BleuCounts sum;
  for (std::size_t i = 0; i < hypotheses.size(); ++i)
    sum += bleu_counts(hypotheses[i], references_of(references[i]));
  BleuScore out = bleu_of(sum, options);
  out.signature = "nrefs:" + count + "|case:mixed|eff:" + (options.effective_order ? "yes" : "no") +
                  "|tok:13a|smooth:exp|version:" + std::string(sacrebleu_version);
  return out;
}

}  // namespace detail

/// BLEU of a corpus with one reference, or several, per hypothesis. Throws `Error` if there is no hypothesis, one is
/// without reference, or a text is not UTF-8.
inline BleuScore corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
                             const BleuOptions& options = {}) {
  return detail::corpus_bleu("corpus_bleu", hypotheses, references, options);
}
inline BleuScore corpus_bleu(std::span<const std::string> hypotheses, std::span<const References> references,
                             const BleuOptions& options = {}) {
  return detail::corpus_bleu("corpus_bleu", hypotheses, references, options);
}

/// BLEU of one sentence. Not a number to average: the BLEU of a corpus is not the mean of its sentences'.
inline BleuScore sentence_bleu(const std::string& hypothesis, const References& references,
                               const BleuOptions& options = {.effective_order = true}) {
  return detail::corpus_bleu<References>("sentence_bleu", {&hypothesis, 1}, {&references, 1}, options);
}

}  // namespace calm::text
