/// \file  chrF and chrF++, equal to sacreBLEU's.
///
/// Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", and 2017, "chrF++: words helping
/// character n-grams". Characters are code points; precision and recall are averaged over the lengths of n-gram, and
/// their F-score is taken last.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/ngrams.hpp"
#include "calm/text/references.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// How chrF counts.
struct ChrfOptions {
  std::size_t char_order = 6;  ///< the longest n-gram of characters
  std::size_t word_order = 0;  ///< the longest n-gram of words; 2: chrF++
  std::size_t beta = 2;        ///< how many times as much recall counts as precision
  bool whitespace = false;     ///< n-grams of characters run over white space, instead of through words without it
  /// Averages the F-scores of all lengths, those that a text is too short for too (as chrF++.py, NLTK and Moses do).
  bool eps_smoothing = false;
};

/// The options of chrF++.
inline constexpr ChrfOptions chrf_plus_plus{.word_order = 2};

/// A chrF score (Popović 2015).
struct ChrfScore {
  double score = 0;       ///< 0 to 100
  std::string name;       ///< "chrF2++"
  std::string signature;  ///< what a table must say of this number, as sacreBLEU writes it
};

namespace detail {

/// Of one length of n-gram.
struct ChrfCounts {
  std::size_t hypothesis = 0;  ///< 0 where the reference has none
  std::size_t reference = 0;
  std::size_t matches = 0;
};

/// One text's n-grams of all lengths are counted from these.
struct ChrfText {
  std::u32string characters;
  std::u32string words;
};

/// The words of chrF++: one ASCII punctuation mark at a word's end, else one at its beginning, is a word of its own.
inline std::vector<std::string_view> chrf_words(std::string_view text) {
  const auto is_punctuation = [](char c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  };
  std::vector<std::string_view> words;
  for (const std::string_view word : split_at_space(text)) {
    std::size_t cut = 0;
    if (word.size() > 1 && is_punctuation(word.back())) cut = word.size() - 1;
    else if (word.size() > 1 && is_punctuation(word.front())) cut = 1;
    if (cut > 0) words.push_back(word.substr(0, cut));
    words.push_back(word.substr(cut));
  }
  return words;
}

inline ChrfText chrf_text(const std::string& text, WordNumbers& numbers, const ChrfOptions& options) {
  ChrfText out;
  out.characters = decode_utf8(text);
  if (!options.whitespace) std::erase_if(out.characters, is_space);
  if (options.word_order > 0) out.words = numbers(chrf_words(text));
  return out;
}

inline double chrf_of(std::span<const ChrfCounts> counts, const ChrfOptions& options) {
  constexpr double eps = 1e-16;  // in place of a precision or recall that is 0 / 0
  const auto weight = static_cast<double>(options.beta * options.beta);
  double f_scores = 0, precisions = 0, recalls = 0, lengths = 0;
  for (const ChrfCounts& c : counts) {
    const auto matches = static_cast<double>(c.matches);
    const double precision = c.hypothesis > 0 ? matches / static_cast<double>(c.hypothesis) : eps;
    const double recall = c.reference > 0 ? matches / static_cast<double>(c.reference) : eps;
    const double denominator = weight * precision + recall;
    f_scores += denominator > 0 ? (1 + weight) * precision * recall / denominator : eps;
    if (c.hypothesis > 0 && c.reference > 0) precisions += precision, recalls += recall, ++lengths;
  }
  if (options.eps_smoothing) return 100 * f_scores / static_cast<double>(counts.size());
  if (precisions + recalls == 0) return 0;
  const double precision = precisions / lengths, recall = recalls / lengths;
  return 100 * (1 + weight) * precision * recall / (weight * precision + recall);
}

/// A hypothesis against the one reference that scores it best.
inline std::vector<ChrfCounts> chrf_counts(const std::string& hypothesis, std::span<const std::string> references,
                                           const ChrfOptions& options) {
  WordNumbers numbers;
  const ChrfText mine = chrf_text(hypothesis, numbers, options);
  std::vector<NgramCounts> ngrams;
  for (std::size_t n = 1; n <= options.char_order; ++n) ngrams.push_back(count_ngrams(mine.characters, n));
  for (std::size_t n = 1; n <= options.word_order; ++n) ngrams.push_back(count_ngrams(mine.words, n));

  std::vector<ChrfCounts> best, counts(ngrams.size());
  double best_score = -1;
  for (const std::string& reference : references) {
    const ChrfText other = chrf_text(reference, numbers, options);
    for (std::size_t i = 0; i < ngrams.size(); ++i) {
      const bool of_words = i >= options.char_order;
      const std::size_t n = of_words ? i - options.char_order + 1 : i + 1;
      const auto length = [n](std::u32string_view s) { return s.size() < n ? 0 : s.size() - n + 1; };
      const NgramCounts theirs = count_ngrams(of_words ? other.words : other.characters, n);
      counts[i].reference = length(of_words ? other.words : other.characters);
      counts[i].hypothesis = counts[i].reference == 0 ? 0 : length(of_words ? mine.words : mine.characters);
      counts[i].matches = count_matches(ngrams[i], theirs);
    }
    const double score = chrf_of(counts, options);
    if (score > best_score) best_score = score, best = counts;
  }
  return best;
}

template <class Entry>
ChrfScore corpus_chrf(std::string_view name, std::span<const std::string> hypotheses,
                      std::span<const Entry> references, const ChrfOptions& options) {
  calm::detail::require(options.char_order + options.word_order > 0 && options.beta > 0, [&] {
    return "calm::text::" + std::string(name) + ": expected n-grams of characters or words, and a beta of 1 or more";
  });
  const std::string count = check_corpus(name, hypotheses, references);
  std::vector<ChrfCounts> sum(options.char_order + options.word_order);
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const auto counts = chrf_counts(hypotheses[i], references_of(references[i]), options);
    for (std::size_t k = 0; k < sum.size(); ++k) {
      sum[k].hypothesis += counts[k].hypothesis;
      sum[k].reference += counts[k].reference;
      sum[k].matches += counts[k].matches;
    }
  }
  ChrfScore out;
  out.score = chrf_of(sum, options);
  out.name = "chrF" + std::to_string(options.beta) + std::string(options.word_order, '+');
  out.signature = "nrefs:" + count + "|case:mixed|eff:" + (options.eps_smoothing ? "no" : "yes") +
                  "|nc:" + std::to_string(options.char_order) + "|nw:" + std::to_string(options.word_order) +
                  "|space:" + (options.whitespace ? "yes" : "no") + "|version:" + std::string(sacrebleu_version);
  return out;
}

}  // namespace detail

/// chrF of a corpus with one reference, or several, per hypothesis; chrF++ with `chrf_plus_plus`. Throws `Error` if
/// there is no hypothesis, one is without reference, or a text is not UTF-8.
inline ChrfScore corpus_chrf(std::span<const std::string> hypotheses, std::span<const std::string> references,
                             const ChrfOptions& options = {}) {
  return detail::corpus_chrf("corpus_chrf", hypotheses, references, options);
}
inline ChrfScore corpus_chrf(std::span<const std::string> hypotheses, std::span<const References> references,
                             const ChrfOptions& options = {}) {
  return detail::corpus_chrf("corpus_chrf", hypotheses, references, options);
}

/// chrF of one sentence.
inline ChrfScore sentence_chrf(const std::string& hypothesis, const References& references,
                               const ChrfOptions& options = {}) {
  return detail::corpus_chrf<References>("sentence_chrf", {&hypothesis, 1}, {&references, 1}, options);
}

}  // namespace calm::text
