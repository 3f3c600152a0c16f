/// \file  Choosing the next token.
#pragma once

#include <cmath>
#include <cstddef>

#include "calm/tensor/dtype.hpp"
#include "calm/tensor/philox.hpp"

namespace calm {

/// The most likely token; of equals the first.
template <class T>
Index argmax(const T* logits, std::size_t vocab) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < vocab; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<Index>(best);
}

/// A token drawn from softmax(logits / temperature), by number `index` of the random sequence `key`. Sums run in double.
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

}  // namespace calm
