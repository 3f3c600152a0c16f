/// \file  Log-probabilities of tokens under the model's own distribution, softmax(logits): natural ones, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

#include "calm/tensor/dtype.hpp"
#include "calm/tensor/error.hpp"

namespace calm {

/// A token and its natural log-probability.
struct TokenScore {
  Index token;
  double log_probability;
};

/// log Σ exp(logits).   logits: [Vocab]. Throws `Error` if that is not finite.
template <class T>
double log_sum_exp(const T* logits, std::size_t vocab) {
  double top = static_cast<double>(logits[0]), sum = 0;
  for (std::size_t i = 1; i < vocab; ++i) top = std::max(top, static_cast<double>(logits[i]));
  for (std::size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - top);
  const double result = top + std::log(sum);
  detail::require(std::isfinite(result), [&] {
    return "calm::log_sum_exp: the model's logits give " + std::to_string(result) + "; expected finite numbers";
  });
  return result;
}

/// The `count` most likely tokens, best first, of equal ones the first.   logits: [Vocab], with its `log_sum_exp`
template <class T>
std::vector<TokenScore> most_likely(const T* logits, std::size_t vocab, std::size_t count, double log_sum) {
  std::vector<std::size_t> order(vocab);
  std::iota(order.begin(), order.end(), std::size_t{0});
  count = std::min(count, vocab);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](std::size_t a, std::size_t b) {
                      return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
                    });
  std::vector<TokenScore> best(count);
  for (std::size_t i = 0; i < count; ++i) {
    best[i] = {static_cast<Index>(order[i]), static_cast<double>(logits[order[i]]) - log_sum};
  }
  return best;
}

}  // namespace calm
