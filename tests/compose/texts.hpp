/// \file  Random texts, and the ways of putting them into a batch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "calm/nn/layout.hpp"
#include "calm/nn/transformer.hpp"
#include "calm/tensor/philox.hpp"

namespace calm::test {

/// Tokens, of which the first `prompt` are given and the others generated.
struct Text {
  std::vector<Index> tokens;
  std::size_t prompt;
};
using Texts = std::vector<Text>;

/// A random number in [0, n).
inline std::size_t below(std::uint64_t seed, std::uint64_t stream, std::uint64_t i, std::size_t n) {
  return random_below({seed, stream}, i, static_cast<std::uint32_t>(n));
}

enum class Arrangement { right, left, packed };  // padding behind, before, or several texts in a row

inline std::size_t longest(const Texts& texts) {
  std::size_t most = 0;
  for (const Text& text : texts) most = std::max(most, text.tokens.size());
  return most;
}

/// `count` texts of 1 to `most` tokens.
inline Texts random_texts(std::size_t count, std::size_t most, std::size_t vocab, std::uint64_t seed) {
  Texts texts(count);
  for (std::size_t i = 0; i < count; ++i) {
    texts[i].tokens.resize(1 + below(seed, 31, i, most));
    texts[i].prompt = 1 + below(seed, 32, i, texts[i].tokens.size());
    for (std::size_t t = 0; t < texts[i].tokens.size(); ++t) {
      texts[i].tokens[t] = static_cast<Index>(below(seed, 40 + i, t, vocab));
    }
  }
  return texts;
}

/// A batch: text i stands at places[i]. Padding is token 1; each token is to predict the next of its text.
struct Arranged {
  nn::Tokens<Cpu> tokens, targets;
  nn::Layout<Cpu> layout;
  std::vector<nn::TextPlace> places;

  /// Where text i begins, counted over all rows.
  std::size_t first(std::size_t i) const { return places[i].row * layout.time() + places[i].column; }
};

inline Arranged arrange(const Texts& texts, Arrangement how) {
  const std::size_t slack = 2, time = longest(texts) + (texts.size() > 1 ? slack : 0);
  Arranged a;
  std::vector<Index> lengths, prompts;
  std::size_t row = 0, column = 0;
  for (const Text& text : texts) {
    const std::size_t length = text.tokens.size();
    if (column + length > time || (how != Arrangement::packed && column > 0)) ++row, column = 0;
    a.places.push_back({row, how == Arrangement::left ? time - length : column, length, text.prompt});
    column += length;
    lengths.push_back(static_cast<Index>(length));
    prompts.push_back(static_cast<Index>(text.prompt));
  }
  if (how == Arrangement::packed) {
    a.layout = nn::packed<Cpu>(a.places, row + 1, time);
  } else {
    a.layout = how == Arrangement::right ? nn::pad_right<Cpu>(lengths, time) : nn::pad_left<Cpu>(lengths, time);
    a.layout.prompt = nn::detail::per_token<Cpu>(prompts, time);
  }
  const Shape<Batch, Time> shape(row + 1, time);
  a.tokens = nn::Tokens<Cpu>::full(shape, 1);
  a.targets = nn::Tokens<Cpu>::full(shape, ignored_target);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto& tokens = texts[i].tokens;
    std::copy(tokens.begin(), tokens.end(), a.tokens.mutable_data() + a.first(i));
    std::copy(tokens.begin() + 1, tokens.end(), a.targets.mutable_data() + a.first(i));
  }
  a.targets.mutable_data()[a.first(0)] = 0;  // a text of one token too has something to learn
  return a;
}

/// The next counts[b] tokens of each text, behind the done[b] first.
struct Step {
  nn::Tokens<Cpu> tokens;
  nn::Layout<Cpu> layout;
};
inline Step part_of(const Texts& texts, const std::vector<Index>& done, const std::vector<Index>& counts) {
  const auto time = static_cast<std::size_t>(*std::max_element(counts.begin(), counts.end()));
  Step s{nn::Tokens<Cpu>::full(Shape<Batch, Time>(texts.size(), time), 1), nn::continue_at<Cpu>(done, counts, time)};
  std::vector<Index> prompts;
  for (std::size_t b = 0; b < texts.size(); ++b) {
    std::copy_n(texts[b].tokens.begin() + done[b], counts[b], s.tokens.mutable_data() + b * time);
    prompts.push_back(static_cast<Index>(texts[b].prompt));
  }
  s.layout.prompt = nn::detail::per_token<Cpu>(prompts, time);
  return s;
}

}  // namespace calm::test
