/// \file  Perplexity.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>

#include "calm/tensor/error.hpp"

namespace calm::text {

/// exp(nats / tokens), of the negative log-likelihood summed over `tokens` predicted tokens: the number of equally
/// likely tokens that would surprise as much. Throws `Error` if there is no token, or the sum is negative or NaN.
///
/// Sums over batches of different sizes: add up nats and tokens, then divide. Numbers of different tokenizers do not
/// compare.
inline double perplexity(double nats, std::size_t tokens) {
  calm::detail::require(tokens > 0, [] {
    return std::string("calm::text::perplexity: expected at least one predicted token, found none");
  });
  calm::detail::require(nats >= 0, [&] {
    return "calm::text::perplexity: expected a summed negative log-likelihood of 0 or more, found " +
           std::to_string(nats) + (nats < 0 ? "; pass the sum of -log p, not of log p" : "");
  });
  return std::exp(nats / static_cast<double>(tokens));
}

}  // namespace calm::text
