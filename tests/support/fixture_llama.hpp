/// \file  The Llama that transformers ran for fixtures/models.safetensors and fixtures/decoding.json.
#pragma once

#include "calm/nn/config.hpp"

namespace calm::test {

struct FixtureLlama {
  static constexpr const char* name = "llama";
  static constexpr nn::TransformerConfig config{.vocab = 37,
                                                .hidden = 16,
                                                .layers = 2,
                                                .heads = 4,
                                                .kv_heads = 2,
                                                .inner = 24,
                                                .context = 12,
                                                .rope_theta = 500,
                                                .tied_embeddings = false};
};

}  // namespace calm::test
