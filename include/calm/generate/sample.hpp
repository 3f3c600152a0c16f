/// \file  Choosing the next token.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calm/generate/options.hpp"
#include "calm/generate/policies.hpp"
#include "calm/tensor/cpu/sum.hpp"  // largest
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/error.hpp"
#include "calm/tensor/philox.hpp"

namespace calm {

/// The most likely token; of equals the first.
template <class T>
Index argmax(const T* logits, std::size_t vocab) {
  const T top = kernel::detail::largest(vocab, logits);
  // A search that may end at each number reads them one by one, so it begins in the right block.
  constexpr std::size_t block = 64;
  const T* from = logits;
  const auto there = [top](const T* x) {
    std::uint32_t n = 0;
    for (std::size_t i = 0; i < block; ++i) n += x[i] == top ? 1 : 0;
    return n > 0;
  };
  while (from + block <= logits + vocab && !there(from)) from += block;
  const T* const best = std::find(from, logits + vocab, top);
  return best == logits + vocab ? 0 : static_cast<Index>(best - logits);  // none equals NaN, in front
}

/// A token drawn from softmax(logits / temperature) by number `index` of the random sequence `key`. Sums run in double.
template <class T>
Index sample(const T* logits, std::size_t vocab, double temperature, RandomKey key, std::uint64_t index) {
  const double top = static_cast<double>(logits[static_cast<std::size_t>(argmax(logits, vocab))]);
  const auto weight = [&](std::size_t i) { return std::exp((static_cast<double>(logits[i]) - top) / temperature); };
  double total = 0;
  for (std::size_t i = 0; i < vocab; ++i) total += weight(i);
  double rest = total * static_cast<double>(random_uniform(key, index));
  std::size_t last = 0;
  for (std::size_t i = 0; i < vocab; ++i) {
    const double w = weight(i);
    if (w > 0) last = i;
    rest -= w;
    if (rest < 0) return static_cast<Index>(i);
  }
  return static_cast<Index>(last);  // rounding ate the rest
}

namespace detail {

inline void check_scores(std::span<const double> scores) {
  require(std::none_of(scores.begin(), scores.end(), [](double s) { return std::isnan(s); }), [] {
    return std::string("calm::choose: a score is not a number; look for a non-finite weight or policy");
  });
  const double top = *std::max_element(scores.begin(), scores.end());
  require(std::isfinite(top), [&] {
    return top > 0 ? std::string("calm::choose: a score is infinite; look for a non-finite weight or policy")
                   : std::string("calm::choose: the policy leaves no token possible; expected at least one");
  });
}

}  // namespace detail

/// What options make of scores before a token is drawn, in the order of transformers' `generate`.
inline auto policies_of(const GenerateOptions& o) {
  return Chain(RepetitionPenalty{o.repetition_penalty}, Temperature{o.temperature}, TopK{o.top_k}, TopP{o.top_p},
               MinP{o.min_p});
}

/// The token that `options` choose behind `text`: the most likely one, or number `index` of the random sequence `key`.
/// The caller's policy comes first, then `policies_of` the options; greedy decoding knows the repetition penalty alone.
/// logits: [Vocab]. Throws `Error` if no token is possible, or a score is not a number.
template <class T>
Index choose(const T* logits, std::size_t vocab, std::span<const Index> text, const GenerateOptions& options,
             RandomKey key, std::uint64_t index) {
  const bool greedy = options.temperature == 0;
  if (greedy && options.repetition_penalty == 1 && !options.policy) return argmax(logits, vocab);
  std::vector<double> scores(vocab);
  for (std::size_t i = 0; i < vocab; ++i) scores[i] = static_cast<double>(logits[i]);
  if (options.policy) options.policy(scores, text);
  detail::check_scores(scores);
  if (greedy) {
    RepetitionPenalty{options.repetition_penalty}(scores, text);
    return argmax(scores.data(), vocab);
  }
  policies_of(options)(scores, text);
  return sample(scores.data(), vocab, 1.0, key, index);
}

}  // namespace calm
