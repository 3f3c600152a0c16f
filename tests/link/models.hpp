// Two small models and a batch for the programs beside this file.
#pragma once

#include "calm/compose/compose.hpp"

#include <array>

struct Large {
  static constexpr calm::nn::TransformerConfig config{.vocab = 32, .hidden = 16, .layers = 3, .heads = 2, .context = 8};
};
struct Small {
  static constexpr calm::nn::TransformerConfig config{.vocab = 32, .hidden = 8, .layers = 2, .heads = 2, .context = 8};
};

template <class Spec, class Mode = calm::Frozen>
using Model = calm::nn::Transformer<Spec, float, calm::Cpu, Mode>;

inline calm::nn::Layout<calm::Cpu> layout() { return calm::nn::pad_right<calm::Cpu>(std::array<calm::Index, 1>{4}, 4); }
inline calm::nn::Tokens<calm::Cpu> tokens() {
  return calm::nn::Tokens<calm::Cpu>::from(calm::Shape<calm::Batch, calm::Time>(1, 4), {3, 1, 4, 1});
}
