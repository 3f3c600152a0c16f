/// \file  The composition that bench/peers/ compares: an anchor of SmolLM-135M's shape and an augment of 12 layers, 384
/// wide, joined by six of the paper's bare bridges. Random weights.
#pragma once

#include <cstddef>
#include <vector>

#include <calm/calm.hpp>

namespace bench {

struct Large {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 49152, .hidden = 576, .layers = 30, .heads = 9, .kv_heads = 3, .inner = 1536, .context = 4096};
};
struct Small {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 49152, .hidden = 384, .layers = 12, .heads = 6, .kv_heads = 3, .inner = 1024, .context = 4096};
};

/// Elements of type T, the frozen weights kept as `Mode` says.
template <class T, class Mode>
struct Pair {
  using Anchor = calm::nn::Transformer<Large, T, calm::Cpu, Mode>;
  using Augment = calm::nn::Transformer<Small, T, calm::Cpu, Mode>;
  using Model = calm::Compose<Anchor, Augment, calm::Uniform<Anchor, Augment, 6>, calm::bridge::Paper>;

  static void initialise(Model& model) {
    calm::nn::initialise(model.anchor, {.seed = 1});
    calm::nn::initialise(model.augment, {.seed = 2});
    model.initialise_bridges();
  }
};

/// Text b has token (b + t) · 7919 mod vocab at place t.
inline std::vector<calm::train::Example> texts(std::size_t count, std::size_t length) {
  std::vector<calm::train::Example> all(count);
  for (std::size_t b = 0; b < count; ++b) {
    for (std::size_t t = 0; t < length; ++t) {
      all[b].tokens.push_back(static_cast<calm::Index>((b + t) * 7919 % Large::config.vocab));
    }
  }
  return all;
}

}  // namespace bench
