/// \file  Examples with a prompt and an answer, and batches of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calm/nn/layout.hpp"
#include "calm/nn/transformer.hpp"
#include "calm/tensor/philox.hpp"

namespace calm::train {

/// A text in tokens. The loss counts what comes after the first `prompt` tokens; prompt = 0 counts all but the first.
struct Example {
  std::vector<Index> tokens;
  std::size_t prompt = 0;
};

/// What one step trains on. Position t predicts token t + 1.
template <class Device>
struct Batch {
  nn::Tokens<Device> tokens;   ///< [Batch, Time], padded on the right with token 0
  nn::Tokens<Device> targets;  ///< [Batch, Time], -1 where nothing is to be predicted
  nn::Layout<Device> layout;
  std::size_t token_count = 0;   ///< without padding
  std::size_t target_count = 0;  ///< positions that are to be predicted
};

/// Puts examples of any lengths into one batch. Throws `Error` if there are none, or one is too short to predict from.
template <class Device>
Batch<Device> collate(std::span<const Example> examples) {
  calm::detail::require(!examples.empty(), [] {
    return std::string("calm::train::collate: an empty batch; expected at least one example");
  });
  std::vector<Index> lengths(examples.size()), prompts(examples.size());
  std::size_t time = 0;
  for (std::size_t b = 0; b < examples.size(); ++b) {
    const std::size_t n = examples[b].tokens.size();
    calm::detail::require(n >= 2 && examples[b].prompt < n, [&] {
      return "calm::train::collate: example " + std::to_string(b) + " has " + std::to_string(n) + " tokens and a prompt of " +
             std::to_string(examples[b].prompt) + "; expected at least 2 tokens, and one after the prompt";
    });
    lengths[b] = static_cast<Index>(n - 1);  // the last token is only ever a target
    prompts[b] = static_cast<Index>(std::max<std::size_t>(examples[b].prompt, 1));
    time = std::max(time, n - 1);
  }
  Batch<Device> batch;
  const Shape<calm::Batch, Time> shape(examples.size(), time);
  batch.tokens = nn::Tokens<Device>::zeros(shape);
  batch.targets = nn::Tokens<Device>::full(shape, ignored_target);
  batch.layout = nn::pad_right<Device>(lengths, time);
  batch.layout.prompt = nn::detail::per_text<Device>(prompts);
  Index* tokens = batch.tokens.mutable_data();
  Index* targets = batch.targets.mutable_data();
  for (std::size_t b = 0; b < examples.size(); ++b) {
    const auto& text = examples[b].tokens;
    std::copy(text.begin(), text.end() - 1, tokens + b * time);
    const auto first = static_cast<std::size_t>(prompts[b]);
    std::copy(text.begin() + static_cast<std::ptrdiff_t>(first), text.end(), targets + b * time + first - 1);
    batch.token_count += text.size() - 1;
    batch.target_count += text.size() - first;
  }
  return batch;
}

/// The i-th example of an endless walk through `count` examples: a new order in each epoch, each example once per
/// epoch. A function of (key, i) alone, so that a resumed run meets the same examples.
inline std::size_t shuffled_index(RandomKey key, std::uint64_t i, std::size_t count) {
  // A four-round Feistel network permutes the next power of four; indices beyond `count` are walked past.
  const std::uint64_t epoch = i / count;
  std::uint64_t x = i % count;
  unsigned half = 1;
  while ((std::uint64_t{1} << (2 * half)) < count) ++half;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = x >> half, right = x & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t mixed = left ^ (random_bits(key.at(epoch), right * 4 + round) & mask);
      left = right;
      right = mixed;
    }
    x = (left << half) | right;
  } while (x >= count);
  return static_cast<std::size_t>(x);
}

}  // namespace calm::train
