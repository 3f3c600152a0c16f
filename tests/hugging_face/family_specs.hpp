/// \file  The models in tests/fixtures/families, as calm-spec writes them (model_config_test.cpp sees to it).
#pragma once

#include "calm/nn/config.hpp"

namespace calm::test {

struct Gpt2A {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 2,
      .heads = 2,
      .context = 72,
      .norm = calm::nn::NormKind::layer,
      .mlp = calm::nn::MlpKind::gelu_tanh,
      .positions = calm::nn::PositionKind::learned,
      .bias = true,
  };
};

struct Gpt2B {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 15,
      .layers = 2,
      .heads = 3,
      .inner = 20,
      .context = 70,
      .norm = calm::nn::NormKind::layer,
      .mlp = calm::nn::MlpKind::gelu,
      .positions = calm::nn::PositionKind::learned,
      .norm_eps = 0.001,
      .bias = true,
      .tied_embeddings = false,
  };
};

struct LlamaA {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 2,
      .inner = 24,
      .context = 72,
      .rope_theta = 500,
      .norm_eps = 1e-06,
      .tied_embeddings = false,
  };
};

struct LlamaB {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 2,
      .heads = 3,
      .kv_heads = 1,
      .head_width = 6,
      .inner = 20,
      .context = 72,
      .rope_theta = 100,
      .norm_eps = 0.001,
      .rope_scaling = calm::RopeScaling::llama3,
      .rope_factor = 4,
      .rope_original_context = 32,
  };
};

struct MistralA {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 2,
      .inner = 20,
      .context = 72,
      .rope_theta = 1000,
      .norm_eps = 1e-06,
      .window = 5,
      .tied_embeddings = false,
  };
};

struct MistralB {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 2,
      .heads = 3,
      .kv_heads = 1,
      .head_width = 10,
      .inner = 24,
      .context = 72,
      .norm_eps = 1e-06,
  };
};

struct Qwen2A {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 2,
      .inner = 20,
      .context = 72,
      .rope_theta = 1000,
      .norm_eps = 1e-06,
      .qkv_bias = true,
  };
};

struct Qwen2B {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 2,
      .heads = 2,
      .kv_heads = 1,
      .inner = 24,
      .context = 72,
      .rope_theta = 50,
      .norm_eps = 1e-06,
      .tied_embeddings = false,
      .qkv_bias = true,
      .rope_scaling = calm::RopeScaling::linear,
      .rope_factor = 2,
  };
};

struct Qwen3A {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 2,
      .head_width = 6,
      .inner = 20,
      .context = 72,
      .norm_eps = 1e-06,
      .qk_norm = true,
  };
};

struct Qwen3B {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 2,
      .heads = 3,
      .head_width = 10,
      .inner = 24,
      .context = 72,
      .rope_theta = 1e+06,
      .norm_eps = 1e-06,
      .tied_embeddings = false,
      .qk_norm = true,
  };
};

struct Qwen3C {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 2,
      .kv_heads = 1,
      .head_width = 16,
      .inner = 20,
      .context = 72,
      .rope_theta = 300,
      .norm_eps = 1e-06,
      .tied_embeddings = false,
      .qk_norm = true,
      .rope_scaling = calm::RopeScaling::yarn,
      .rope_factor = 4,
      .rope_high_frequency = 6,
      .rope_original_context = 18,
      .rope_magnitude = 1.138629436111989,
  };
};

struct GemmaA {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 1,
      .head_width = 6,
      .inner = 20,
      .context = 72,
      .norm = calm::nn::NormKind::rms_plus_one,
      .mlp = calm::nn::MlpKind::geglu,
      .norm_eps = 1e-06,
      .embedding_scale = 4,
  };
};

struct GemmaB {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 2,
      .heads = 2,
      .head_width = 10,
      .inner = 24,
      .context = 72,
      .norm = calm::nn::NormKind::rms_plus_one,
      .mlp = calm::nn::MlpKind::geglu,
      .rope_theta = 200,
      .norm_eps = 1e-06,
      .embedding_scale = 3.4641016151377544,
  };
};

struct Gemma2A {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 2,
      .head_width = 6,
      .inner = 20,
      .context = 72,
      .norm = calm::nn::NormKind::rms_plus_one,
      .mlp = calm::nn::MlpKind::geglu,
      .norm_eps = 1e-06,
      .window = 5,
      .global_every = 2,
      .post_norms = true,
      .embedding_scale = 4,
      .query_scale = 0.5,
      .attention_softcap = 4,
      .logits_softcap = 6,
  };
};

struct Gemma2B {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 3,
      .heads = 2,
      .kv_heads = 1,
      .head_width = 10,
      .inner = 20,
      .context = 72,
      .norm = calm::nn::NormKind::rms_plus_one,
      .mlp = calm::nn::MlpKind::geglu,
      .norm_eps = 1e-06,
      .window = 3,
      .global_every = 2,
      .post_norms = true,
      .embedding_scale = 3.4641016151377544,
      .query_scale = 0.22360679774997896,
      .attention_softcap = 3,
      .logits_softcap = 9,
  };
};

struct Gemma3TextA {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 2,
      .head_width = 6,
      .inner = 20,
      .context = 72,
      .norm = calm::nn::NormKind::rms_plus_one,
      .mlp = calm::nn::MlpKind::geglu,
      .rope_theta = 1e+06,
      .norm_eps = 1e-06,
      .window = 5,
      .global_every = 2,
      .qk_norm = true,
      .post_norms = true,
      .embedding_scale = 4,
      .query_scale = 0.5,
      .local_rope_theta = 100,
  };
};

struct Gemma3TextB {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 12,
      .layers = 3,
      .heads = 2,
      .kv_heads = 1,
      .head_width = 10,
      .inner = 16,
      .context = 72,
      .norm = calm::nn::NormKind::rms_plus_one,
      .mlp = calm::nn::MlpKind::geglu,
      .norm_eps = 1e-06,
      .window = 4,
      .global_every = 3,
      .qk_norm = true,
      .post_norms = true,
      .embedding_scale = 3.4641016151377544,
      .query_scale = 0.25,
      .local_rope_theta = 30,
      .rope_scaling = calm::RopeScaling::linear,
      .rope_factor = 8,
  };
};

struct Phi3A {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 16,
      .layers = 2,
      .heads = 4,
      .kv_heads = 2,
      .inner = 20,
      .context = 72,
      .rope_theta = 1000,
      .window = 5,
      .tied_embeddings = false,
  };
};

struct Phi3B {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 24,
      .layers = 2,
      .heads = 3,
      .kv_heads = 1,
      .inner = 12,
      .context = 72,
      .rope_theta = 200,
      .rotary_width = 4,
  };
};

struct Phi3C {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 29,
      .hidden = 32,
      .layers = 2,
      .heads = 2,
      .kv_heads = 1,
      .inner = 12,
      .context = 72,
      .rope_theta = 100,
      .tied_embeddings = false,
      .rope_scaling = calm::RopeScaling::longrope,
      .rotary_width = 12,
      .rope_magnitude = 1.1507184924151712,
      .rope_pair_factors = {1, 1.1, 1.25, 1.5, 2, 3},
  };
};

}  // namespace calm::test
