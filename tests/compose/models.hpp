/// \file  Two small models of different kinds, and texts for them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "calm/compose/compose.hpp"
#include "calm/nn/initialise.hpp"

namespace calm::test {

/// Llama's kind: grouped heads, rotary positions, gated MLP, a local first block.
struct AnchorSpec {
  static constexpr nn::TransformerConfig config{.vocab = 16,
                                                .hidden = 24,
                                                .layers = 4,
                                                .heads = 4,
                                                .kv_heads = 2,
                                                .inner = 40,
                                                .context = 32,
                                                .window = 2,
                                                .local_layers = 1,
                                                .tied_embeddings = false};
};
/// GPT-2's kind: learned positions, LayerNorm, biases. Another width, another depth.
struct AugmentSpec {
  static constexpr nn::TransformerConfig config{.vocab = 16,
                                                .hidden = 16,
                                                .layers = 4,
                                                .heads = 2,
                                                .context = 32,
                                                .norm = nn::NormKind::layer,
                                                .mlp = nn::MlpKind::gelu_tanh,
                                                .positions = nn::PositionKind::learned,
                                                .bias = true};
};

template <class T>
using SmallAnchor = nn::Transformer<AnchorSpec, T, Cpu>;
template <class T>
using SmallAugment = nn::Transformer<AugmentSpec, T, Cpu>;
using SmallLinks = LayerMap<Link<0, 1>, Link<2, 2>>;

template <class T, class Options = bridge::Normalised>
using Small = Compose<SmallAnchor<T>, SmallAugment<T>, SmallLinks, Options>;

/// Both models at random; fresh bridges, or bridges at random too (as after training).
template <class Model>
std::unique_ptr<Model> make_small(bool trained, std::uint64_t seed = 1) {
  auto m = std::make_unique<Model>();
  nn::initialise(m->anchor, {.seed = seed, .deviation = 0.3});
  nn::initialise(m->augment, {.seed = seed + 1, .deviation = 0.3});
  m->initialise_bridges(seed + 2);
  if (trained) nn::initialise_trainable(*m, {.seed = seed + 3, .deviation = 0.3});
  return m;
}

inline nn::Tokens<Cpu> random_tokens(std::size_t batch, std::size_t time, std::uint64_t seed) {
  nn::Tokens<Cpu> t(Shape<Batch, Time>(batch, time));
  for (std::size_t i = 0; i < t.size(); ++i) {
    t.mutable_data()[i] = static_cast<Index>(random_below({seed, 5}, i, AnchorSpec::config.vocab));
  }
  return t;
}

inline nn::Layout<Cpu> whole(std::size_t batch, std::size_t time) {
  const std::vector<Index> lengths(batch, static_cast<Index>(time));
  return nn::pad_right<Cpu>(lengths, time);
}

/// The logits at text b, position t.
template <class Logits>
std::vector<typename Logits::value_type> row(const Logits& logits, std::size_t b, std::size_t t) {
  const std::size_t vocab = logits.extent(2);
  const auto* from = logits.data() + (b * logits.extent(1) + t) * vocab;
  return {from, from + vocab};
}

}  // namespace calm::test
