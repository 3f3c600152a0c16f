/// \file  What a transformer is made of, as a constant; and the axes that follow from it.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>

#include "calm/tensor/axis.hpp"
#include "calm/tensor/rope_options.hpp"

namespace calm::nn {

/// How a state is normalised (Zhang and Sennrich 2019; Ba et al. 2016).
enum class NormKind {
  rms,           ///< RMSNorm, scale w (Llama)
  rms_plus_one,  ///< RMSNorm, scale 1 + w (Gemma)
  layer,         ///< LayerNorm with scale and bias (GPT-2)
};
/// The feed-forward layer (Hendrycks and Gimpel 2016; of gated ones Shazeer 2020).
enum class MlpKind {
  gelu,       ///< two layers, exact GELU
  gelu_tanh,  ///< two layers, GELU by tanh (GPT-2)
  swiglu,     ///< gated, SiLU (Llama)
  geglu,      ///< gated, GELU by tanh (Gemma)
};
/// How a block knows where a token stands (rotary: Su et al. 2021).
enum class PositionKind {
  learned,  ///< a table of absolute positions, added to the embedding (GPT-2)
  rotary,   ///< rotation of queries and keys (Llama)
};

/// The shape of a decoder-only transformer, with norms before attention and MLP and perhaps behind them. A model is a
/// named struct that holds one: `struct Tiny { static constexpr nn::TransformerConfig config{.vocab = 256, …}; };`
struct TransformerConfig {
  std::size_t vocab = 0;       ///< tokens
  std::size_t hidden = 0;      ///< width of the residual stream
  std::size_t layers = 0;      ///< blocks
  std::size_t heads = 0;       ///< query heads
  std::size_t kv_heads = 0;    ///< key and value heads; 0: as many as query heads
  std::size_t head_width = 0;  ///< 0: hidden / heads
  std::size_t inner = 0;       ///< width inside the MLP; 0: 4 · hidden
  std::size_t context = 0;     ///< the most tokens in a text
  NormKind norm = NormKind::rms;
  MlpKind mlp = MlpKind::swiglu;
  PositionKind positions = PositionKind::rotary;
  double rope_theta = 10000;     ///< the base of rotary positions
  double norm_eps = 1e-5;
  std::size_t window = 0;        ///< tokens that a local block sees, itself included; 0: no block is local
  std::size_t local_layers = 0;  ///< how many blocks, from the first, are local; 0: all, but global_every
  bool bias = false;             ///< in every linear layer of the blocks
  bool tied_embeddings = true;   ///< the LM head is the embedding table

  std::size_t global_every = 0;  ///< each so-many-th block is not local
  bool qkv_bias = false;         ///< in the linear layers of queries, keys and values (Qwen 2)
  bool qk_norm = false;          ///< a norm on each head of queries and keys, before rotation (Qwen 3, Gemma 3)
  bool post_norms = false;       ///< norms also behind attention and behind the MLP (Gemma 2)
  double embedding_scale = 1;    ///< what embeddings are multiplied by (Gemma: sqrt(hidden))
  double query_scale = 0;        ///< what q·k is multiplied by; 0: 1 / sqrt(head_width)
  double attention_softcap = 0;  ///< of scores (Gemma 2); 0: none
  double logits_softcap = 0;     ///< of logits (Gemma 2); 0: none
  double local_rope_theta = 0;   ///< the base in local blocks, which no scaling concerns (Gemma 3); 0: as in all
  RopeScaling rope_scaling = RopeScaling::none;  ///< with the numbers of RopeOptions (tensor/rope_options.hpp):
  double rope_factor = 1, rope_low_frequency = 1, rope_high_frequency = 4, rope_original_context = 8192;
  std::size_t rotary_width = 0;  ///< elements of a head that turn, from the first; 0: all
  double rope_magnitude = 1;     ///< what turned elements are multiplied by (yarn, longrope)
  std::array<double, max_rope_pairs> rope_pair_factors{};  ///< how much slower each pair turns (longrope)

  constexpr std::size_t key_heads() const { return kv_heads ? kv_heads : heads; }
  constexpr std::size_t width_of_head() const { return head_width ? head_width : (heads ? hidden / heads : 0); }
  constexpr std::size_t inner_width() const { return inner ? inner : 4 * hidden; }
  constexpr bool is_local(std::size_t layer) const {
    if (window == 0) return false;
    if (local_layers > 0) return layer < local_layers;
    return global_every == 0 || (layer + 1) % global_every != 0;
  }
  constexpr RopeOptions rope(bool local) const {
    if (local && local_rope_theta > 0) return {.theta = local_rope_theta, .turned = rotary_width};
    return {rope_theta,          rope_scaling,          rope_factor,  rope_low_frequency,
            rope_high_frequency, rope_original_context, rotary_width, rope_magnitude,
            rope_pair_factors};
  }
};

/// A named struct with a transformer's configuration.
template <class S>
concept Spec = requires {
  { S::config } -> std::convertible_to<TransformerConfig>;
};

/// Checks a configuration where a module is made of it; one sentence per rule.
template <Spec S>
struct Checked {
  static constexpr TransformerConfig c = S::config;
  static_assert(c.vocab > 0 && c.hidden > 0 && c.layers > 0 && c.heads > 0 && c.context > 0,
                "calm::nn: a TransformerConfig needs vocab, hidden, layers, heads and context");
  static_assert(c.head_width != 0 || c.hidden % (c.heads ? c.heads : 1) == 0,
                "calm::nn: heads do not divide the hidden width; give head_width or other heads");
  static_assert(c.heads % (c.key_heads() ? c.key_heads() : 1) == 0,
                "calm::nn: kv_heads do not divide heads, so key heads cannot be shared evenly");
  static_assert(c.positions != PositionKind::rotary || c.width_of_head() % 2 == 0,
                "calm::nn: rotary positions need an even head width");
  static_assert(c.rotary_width % 2 == 0 && c.rotary_width <= c.width_of_head(),
                "calm::nn: rotary_width is even and at most the width of a head");
  static_assert(c.window > 0 || (c.local_layers == 0 && c.global_every == 0),
                "calm::nn: local_layers and global_every need a window");
  static_assert((c.local_layers == 0 || c.global_every == 0) && c.local_layers <= c.layers,
                "calm::nn: local_layers, at most layers, or global_every, not both");
  static constexpr bool ok = true;
};

// The axes of a model. Each is a type of its own per model, so that the streams of two models never mix.
template <Spec S>
struct Vocab {
  static constexpr std::size_t extent = S::config.vocab;
};
template <Spec S>
struct Context {
  static constexpr std::size_t extent = S::config.context;
};
template <Spec S>
struct Hidden {
  static constexpr std::size_t extent = S::config.hidden;
};
template <Spec S>
struct Inner {
  static constexpr std::size_t extent = S::config.inner_width();
};
template <Spec S>
struct Heads {
  static constexpr std::size_t extent = S::config.heads;
};
template <Spec S>
struct KeyHeads {
  static constexpr std::size_t extent = S::config.key_heads();
};
template <Spec S>
struct HeadWidth {
  static constexpr std::size_t extent = S::config.width_of_head();
};
/// All query heads side by side.
template <Spec S>
struct Queries {
  static constexpr std::size_t extent = Heads<S>::extent * HeadWidth<S>::extent;
};
/// All key (or value) heads side by side.
template <Spec S>
struct Keys {
  static constexpr std::size_t extent = KeyHeads<S>::extent * HeadWidth<S>::extent;
};

}  // namespace calm::nn
