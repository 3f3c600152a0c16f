/// \file  The base models of random compositions: tiny, of every kind, few, so that their blocks are compiled once.
#pragma once

#include <array>
#include <cstddef>
#include <tuple>

#include "calm/nn/transformer.hpp"

namespace calm::test {

/// The most tokens of a random text.
inline constexpr std::size_t longest_text = 9;

struct Llama {
  static constexpr nn::TransformerConfig config{.vocab = 11,
                                                .hidden = 12,
                                                .layers = 3,
                                                .heads = 6,
                                                .kv_heads = 2,
                                                .inner = 10,
                                                .context = longest_text,
                                                .window = 2,
                                                .local_layers = 1,
                                                .tied_embeddings = false};
};
struct Gpt2 {
  static constexpr nn::TransformerConfig config{.vocab = 11,
                                                .hidden = 8,
                                                .layers = 3,
                                                .heads = 2,
                                                .inner = 6,
                                                .context = longest_text,
                                                .norm = nn::NormKind::layer,
                                                .mlp = nn::MlpKind::gelu_tanh,
                                                .positions = nn::PositionKind::learned,
                                                .bias = true};
};
struct Gemma {  // a head width of its own: not hidden / heads
  static constexpr nn::TransformerConfig config{.vocab = 11,
                                                .hidden = 10,
                                                .layers = 4,
                                                .heads = 2,
                                                .kv_heads = 1,
                                                .head_width = 4,
                                                .inner = 8,
                                                .context = longest_text,
                                                .norm = nn::NormKind::rms_plus_one,
                                                .mlp = nn::MlpKind::geglu};
};
struct OfOneWidth {  // as wide as Llama, whose stream is another axis all the same
  static constexpr nn::TransformerConfig config{.vocab = 11,
                                                .hidden = 12,
                                                .layers = 2,
                                                .heads = 1,
                                                .inner = 5,
                                                .context = longest_text,
                                                .mlp = nn::MlpKind::gelu};
};

using Pool = std::tuple<Llama, Gpt2, Gemma, OfOneWidth>;
inline constexpr std::size_t pool_size = std::tuple_size_v<Pool>;
inline constexpr std::array<nn::TransformerConfig, pool_size> pool_configs{Llama::config, Gpt2::config, Gemma::config,
                                                                           OfOneWidth::config};
template <std::size_t I>
using Base = nn::Transformer<std::tuple_element_t<I, Pool>, double, Cpu>;

}  // namespace calm::test
