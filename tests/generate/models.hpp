/// \file  Models that decode, and the logits that they must decode by.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "calm/generate/generate.hpp"
#include "compose/models.hpp"

namespace calm::test {

using Prompts = std::vector<std::vector<Index>>;

struct PrefixMask {
  static constexpr BridgeConfig config{.mask = BridgeMask::prefix};
};

using Llama = SmallAnchor<float>;
using Gpt2 = SmallAugment<float>;
using Composed = Small<float>;
using PrefixComposed = Small<float, PrefixMask>;
using EncoderComposed = Small<float, bridge::Encoder>;

/// A model of random weights: a plain transformer of either kind, or the composition of both.
template <class Model>
std::unique_ptr<Model> make_model() {
  if constexpr (requires(Model m) { m.bridges; }) {
    return make_small<Model>(true);
  } else {
    auto m = std::make_unique<Model>();
    nn::initialise(*m, {.seed = 4, .deviation = 0.3});
    return m;
  }
}

/// The logits behind the last token of `text`, whose first `prompt` tokens were given, by a pass over all of it.
template <class Model>
auto next_of(const Model& model, const std::vector<Index>& text, std::size_t prompt) {
  const auto tokens = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, text.size()), text.data());
  auto layout = whole(1, text.size());
  const auto given = static_cast<Index>(prompt);
  layout.prompt = nn::detail::per_token<Cpu>(std::span(&given, 1), text.size());
  return row(value(model.logits(tokens, layout)), 0, text.size() - 1);
}

inline const Prompts ragged{{1, 2, 3}, {4, 5, 6, 7, 8, 9, 10}, {11}, {12, 12, 0, 15}};

/// The first tokens followed by the others.
inline std::vector<Index> joined(std::vector<Index> first, const std::vector<Index>& others) {
  first.insert(first.end(), others.begin(), others.end());
  return first;
}

}  // namespace calm::test
