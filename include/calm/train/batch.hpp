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
  /// Where not empty: what each position is to predict, instead of the next token; -1: nothing. As many as tokens.
  std::vector<Index> labels;
};

/// What one step trains on. Position t predicts token t + 1.
template <class Device>
struct Batch {
  nn::Tokens<Device> tokens;   ///< [Batch, Time], padded on the right with token 0
  nn::Tokens<Device> targets;  ///< [Batch, Time], -1 where nothing is to be predicted
  nn::Layout<Device> layout;
  std::size_t token_count = 0;  ///< without padding
};

namespace detail {

/// How many positions of an example are read: the last token of a text is only ever a target.
inline std::size_t positions(const Example& e) { return e.labels.empty() ? e.tokens.size() - 1 : e.tokens.size(); }

inline void check_example(const Example& e, std::size_t b) {
  const std::size_t n = e.tokens.size();
  calm::detail::require(e.labels.empty() ? n >= 2 && e.prompt < n : n >= 1 && e.labels.size() == n, [&] {
    return "calm::train::collate: example " + std::to_string(b) + " has " + std::to_string(n) +
           " tokens, a prompt of " + std::to_string(e.prompt) + " and " + std::to_string(e.labels.size()) +
           " labels; expected at least 2 tokens and one after the prompt, or as many labels as tokens";
  });
}

}  // namespace detail

/// Puts examples of any lengths into one batch. Throws `Error` if there are none, or one is too short to predict from.
template <class Device>
Batch<Device> collate(std::span<const Example> examples) {
  calm::detail::require(!examples.empty(), [] {
    return std::string("calm::train::collate: an empty batch; expected at least one example");
  });
  const std::size_t count = examples.size();
  std::size_t time = 0;
  for (std::size_t b = 0; b < count; ++b) {
    detail::check_example(examples[b], b);
    time = std::max(time, detail::positions(examples[b]));
  }
  Batch<Device> batch;
  const Shape<calm::Batch, Time> shape(count, time);
  batch.tokens = nn::Tokens<Device>::zeros(shape);
  batch.targets = nn::Tokens<Device>::full(shape, ignored_target);
  Tensor<Index, Device, calm::Batch> lengths{Shape<calm::Batch>(count)}, prompts{Shape<calm::Batch>(count)};
  Index* tokens = batch.tokens.mutable_data();
  Index* targets = batch.targets.mutable_data();
  for (std::size_t b = 0; b < count; ++b) {
    const Example& e = examples[b];
    const std::size_t n = detail::positions(e);
    const std::size_t first = std::max<std::size_t>(e.labels.empty() ? e.prompt : 0, 1);
    lengths.mutable_data()[b] = static_cast<Index>(n);
    prompts.mutable_data()[b] = static_cast<Index>(std::max<std::size_t>(e.prompt, 1));
    std::copy_n(e.tokens.begin(), n, tokens + b * time);
    if (e.labels.empty())
      std::copy(e.tokens.begin() + static_cast<std::ptrdiff_t>(first), e.tokens.end(), targets + b * time + first - 1);
    else
      std::copy_n(e.labels.begin(), n, targets + b * time);
    batch.token_count += n;
  }
  batch.layout = nn::pad_right<Device>(std::span(lengths.data(), count), time);
  batch.layout.prompt = prompts;
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
