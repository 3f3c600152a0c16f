/// \file  Policies: what reshapes the scores of the next token before one is drawn.
///
/// A policy is called with the scores of all tokens, [Vocab], and with the text so far, prompt included, and changes
/// the scores in place. Softmax of the scores is what is drawn from; a token at `impossible` is never drawn. Each
/// policy here is a function of these two alone, has a setting at which it changes no probability, and keeps at least
/// the most likely token.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "calm/tensor/dtype.hpp"

namespace calm {

/// The score of a token that cannot come.
inline constexpr double impossible = -std::numeric_limits<double>::infinity();

/// Any policy, of any kind: `policy(scores, text)`.
using Policy = std::function<void(std::span<double> scores, std::span<const Index> text)>;

/// Tokens that the text already holds lose: a positive score is divided by `penalty`, a negative one multiplied (Keskar
/// et al. 2019, in the form of Hugging Face transformers). Once per token, however often it stands. 1: nothing.
struct RepetitionPenalty {
  double penalty = 1;

  void operator()(std::span<double> scores, std::span<const Index> text) const {
    if (penalty == 1) return;
    std::vector<Index> seen(text.begin(), text.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const Index token : seen) {
      double& score = scores[static_cast<std::size_t>(token)];
      score = score > 0 ? score / penalty : score * penalty;
    }
  }
};

/// Scores are divided by `temperature`, after the greatest is set to 0, which changes no probability. 1: nothing more.
struct Temperature {
  double temperature = 1;

  void operator()(std::span<double> scores, std::span<const Index>) const {
    const double top = *std::max_element(scores.begin(), scores.end());
    for (double& score : scores) score = (score - top) / temperature;
  }
};

/// The `count` most likely tokens stay, and those as likely as the last of them (Fan et al. 2018). 0: all.
struct TopK {
  std::size_t count = 0;

  void operator()(std::span<double> scores, std::span<const Index>) const {
    if (count == 0 || count >= scores.size()) return;
    std::vector<double> sorted(scores.begin(), scores.end());
    const auto last = sorted.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(sorted.begin(), last, sorted.end(), std::greater<>());
    for (double& score : scores) {
      if (score < *last) score = impossible;
    }
  }
};

/// The nucleus stays: the fewest most likely tokens that together have probability `mass` (Holtzman et al. 2020). Of
/// equally likely ones the first are taken. 1: all.
struct TopP {
  double mass = 1;

  void operator()(std::span<double> scores, std::span<const Index>) const {
    if (mass >= 1) return;
    const double top = *std::max_element(scores.begin(), scores.end());
    const auto weight = [&](std::size_t i) { return std::exp(scores[i] - top); };
    std::vector<std::size_t> left;
    double total = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] == impossible) continue;
      left.push_back(i);
      total += weight(i);
    }
    // A heap, since a nucleus is far smaller than a vocabulary: what lies outside it is never sorted.
    const auto less = [&](std::size_t a, std::size_t b) {
      return scores[a] < scores[b] || (scores[a] == scores[b] && a > b);
    };
    std::make_heap(left.begin(), left.end(), less);
    for (double taken = 0; !left.empty() && taken < mass * total; left.pop_back()) {
      std::pop_heap(left.begin(), left.end(), less);
      taken += weight(left.back());
    }
    for (const std::size_t i : left) scores[i] = impossible;
  }
};

/// Tokens less likely than `share` times the most likely one go (Nguyen et al. 2024). 0: none.
struct MinP {
  double share = 0;

  void operator()(std::span<double> scores, std::span<const Index>) const {
    if (share <= 0) return;
    const double top = *std::max_element(scores.begin(), scores.end());
    for (double& score : scores) {
      if (std::exp(score - top) < share) score = impossible;
    }
  }
};

/// Policies one after the other.
template <class... Policies>
struct Chain {
  std::tuple<Policies...> policies;

  explicit Chain(Policies... p) : policies(std::move(p)...) {}
  void operator()(std::span<double> scores, std::span<const Index> text) const {
    std::apply([&](const auto&... policy) { (policy(scores, text), ...); }, policies);
  }
};

}  // namespace calm
