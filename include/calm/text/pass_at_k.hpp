/// \file  pass@k: how likely one of k programs passes its problem's tests.
///
/// Chen et al. 2021, "Evaluating large language models trained on code" (arXiv 2107.03374), section 2.1 and figure 3.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "calm/tensor/error.hpp"

namespace calm::text {

/// The samples of one problem.
struct PassCount {
  std::size_t samples = 0;  ///< n
  std::size_t passed = 0;   ///< c, of them
};

/// 1 - C(n - c, k) / C(n, k): the share of the sets of k among n samples in which one passes; unbiased, where
/// 1 - (1 - c/n)^k is not. Computed as a product of factors below 1, so that no binomial overflows. Throws `Error`
/// unless c <= n and 1 <= k <= n.
inline double pass_at_k(const PassCount& problem, std::size_t k) {
  const auto [n, c] = problem;
  calm::detail::require(c <= n && k >= 1 && k <= n, [&, n = n, c = c] {
    return "calm::text::pass_at_k: expected passed <= samples and 1 <= k <= samples, found samples " +
           std::to_string(n) + ", passed " + std::to_string(c) + ", k " + std::to_string(k) +
           (k > n ? "; draw at least k samples of each problem" : "");
  });
  if (n - c < k) return 1;  // every set of k has one that passes
  double none = 1;
  for (std::size_t i = n - c + 1; i <= n; ++i) none *= 1 - static_cast<double>(k) / static_cast<double>(i);
  return 1 - none;
}

/// The mean over problems. Throws `Error` if there is none, or for one of them, by its number.
inline double pass_at_k(std::span<const PassCount> problems, std::size_t k) {
  calm::detail::require(!problems.empty(), [] {
    return std::string("calm::text::pass_at_k: expected at least one problem, found none");
  });
  double sum = 0;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    try {
      sum += pass_at_k(problems[i], k);
    } catch (const Error& e) {
      throw Error("problem " + std::to_string(i) + ": " + e.what());
    }
  }
  return sum / static_cast<double>(problems.size());
}

}  // namespace calm::text
