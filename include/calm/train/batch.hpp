/// \file  Examples with a prompt and an answer, and batches of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
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
struct Minibatch {
  nn::Tokens<Device> tokens;   ///< [Rows, Time], token 0 where no text stands
  nn::Tokens<Device> targets;  ///< [Rows, Time], -1 where nothing is to be predicted
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

/// Places texts in rows of `time` columns, the longest first, each in the first row with room for it (first-fit
/// decreasing). Returns the number of rows.
inline std::size_t place(std::span<const Example> examples, std::size_t time, std::span<nn::TextPlace> places) {
  const Storage<Cpu> scratch(2 * examples.size() * sizeof(Index));
  auto* const order = static_cast<Index*>(scratch.data());
  Index* const used = order + examples.size();
  std::iota(order, used, Index{0});
  const auto length = [&](Index b) { return positions(examples[static_cast<std::size_t>(b)]); };
  std::sort(order, used, [&](Index a, Index b) { return length(a) != length(b) ? length(a) > length(b) : a < b; });
  std::size_t rows = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const auto b = static_cast<std::size_t>(order[i]);
    const std::size_t n = positions(examples[b]);
    std::size_t row = 0;
    while (row < rows && static_cast<std::size_t>(used[row]) + n > time) ++row;
    if (row == rows) used[rows++] = 0;
    places[b] = {row, static_cast<std::size_t>(used[row]), n, std::max<std::size_t>(examples[b].prompt, 1)};
    used[row] += static_cast<Index>(n);
  }
  return rows;
}

}  // namespace detail

/// How many targets examples have: what their loss is the mean over. Throws `Error` for one too short.
inline std::size_t target_count(std::span<const Example> examples) {
  std::size_t n = 0;
  for (std::size_t b = 0; b < examples.size(); ++b) {
    const Example& e = examples[b];
    detail::check_example(e, b);
    if (e.labels.empty())
      n += e.tokens.size() - std::max<std::size_t>(e.prompt, 1);
    else
      n += e.labels.size() - static_cast<std::size_t>(std::count(e.labels.begin(), e.labels.end(), ignored_target));
  }
  return n;
}

/// Puts examples of any lengths into one batch, short ones side by side in rows as long as the longest. No text sees
/// another. Throws `Error` if there are none, or one is too short to predict from.
template <class Device>
Minibatch<Device> collate(std::span<const Example> examples) {
  calm::detail::require(!examples.empty(), [] {
    return std::string("calm::train::collate: an empty batch; expected at least one example");
  });
  std::size_t time = 0;
  for (std::size_t b = 0; b < examples.size(); ++b) {
    detail::check_example(examples[b], b);
    time = std::max(time, detail::positions(examples[b]));
  }
  const Storage<Cpu> memory(examples.size() * sizeof(nn::TextPlace));
  const std::span places(static_cast<nn::TextPlace*>(memory.data()), examples.size());
  const std::size_t rows = detail::place(examples, time, places);
  const Shape<Batch, Time> shape(rows, time);
  Minibatch<Device> batch{.tokens = nn::Tokens<Device>::zeros(shape),
                          .targets = nn::Tokens<Device>::full(shape, ignored_target),
                          .layout = nn::packed<Device>(places, rows, time)};
  for (std::size_t b = 0; b < examples.size(); ++b) {
    const Example& e = examples[b];
    const std::size_t at = places[b].row * time + places[b].column;
    Index* targets = batch.targets.mutable_data() + at;
    std::copy_n(e.tokens.begin(), places[b].length, batch.tokens.mutable_data() + at);
    if (e.labels.empty()) {
      const std::size_t first = std::max<std::size_t>(e.prompt, 1);
      std::copy(e.tokens.begin() + static_cast<std::ptrdiff_t>(first), e.tokens.end(), targets + first - 1);
    } else {
      std::copy_n(e.labels.begin(), places[b].length, targets);
    }
    batch.token_count += places[b].length;
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
