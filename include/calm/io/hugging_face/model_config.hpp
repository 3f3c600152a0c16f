/// \file  config.json of a Hugging Face directory as a TransformerConfig.
///
/// What a field means, and what its absence does, is transformers' own (its configuration_*.py, versions 4 and 5). What
/// calm does not know is refused by name: a model that is read is the model that was meant.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

#include "calm/io/hugging_face/family.hpp"
#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/io/hugging_face/layer_types.hpp"
#include "calm/io/hugging_face/rope_json.hpp"
#include "calm/io/json_file.hpp"
#include "calm/nn/config.hpp"

namespace calm::io {

/// A model as its config.json describes it.
struct ModelConfig {
  Family family;
  nn::TransformerConfig config;
};

namespace detail {

/// Fields that change nothing of what a model computes: training, tokens of the tokenizer, bookkeeping.
inline constexpr std::array<std::string_view, 71> idle_fields{
    "architectures", "attention_dropout", "attn_implementation", "attn_pdrop", "bad_words_ids", "begin_suppress_tokens",
    "bos_token_id", "cache_implementation", "chunk_size_feed_forward", "diversity_penalty", "do_sample", "dtype",
    "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "hidden_dropout",
    "id2label", "initializer_range", "is_decoder", "is_llama_config", "keys_to_ignore_at_inference", "label2id",
    "length_penalty", "max_length", "min_length", "n_ctx", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores", "pad_token_id", "prefix",
    "pretraining_tp", "problem_type", "remove_invalid_values",
    "reorder_and_upcast_attn", "repetition_penalty", "resid_pdrop", "return_dict", "return_dict_in_generate",
    "sep_token_id", "sliding_window_size", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
    "summary_type", "summary_use_proj", "suppress_tokens", "task_specific_params", "temperature", "tokenizer_class",
    "top_k", "top_p", "torch_dtype", "torchscript", "transformers.js_config", "transformers_version", "typical_p",
    "unk_token_id", "unsloth_fixed", "unsloth_version", "use_cache"};

inline nn::TransformerConfig read_gpt2(JsonFields& f) {
  nn::TransformerConfig c;
  c.vocab = f.count("vocab_size");
  c.hidden = f.count("n_embd");
  c.layers = f.count("n_layer");
  c.heads = f.count("n_head");
  c.inner = f.count("n_inner", 0);
  c.context = f.count("n_positions");
  c.norm = nn::NormKind::layer;
  c.norm_eps = f.positive("layer_norm_epsilon", 1e-5);
  c.positions = nn::PositionKind::learned;
  const std::string activation = f.one_of("activation_function", {"gelu_new", "gelu", "gelu_pytorch_tanh"});
  c.mlp = activation == "gelu" ? nn::MlpKind::gelu : nn::MlpKind::gelu_tanh;
  c.bias = true;
  c.tied_embeddings = f.flag("tie_word_embeddings", true);
  f.require_flag("scale_attn_weights", true, true);
  f.require_flag("scale_attn_by_inverse_layer_idx", false, false);
  f.require_flag("add_cross_attention", false, false);
  return c;
}

/// What all families with rotary positions say in the same words. `head_dim`: where the file says none; 0: the share of
/// each head in the hidden width.
inline nn::TransformerConfig read_rotary(JsonFields& f, std::size_t head_dim, double eps, bool tied) {
  nn::TransformerConfig c;
  c.vocab = f.count("vocab_size");
  c.hidden = f.count("hidden_size");
  c.layers = f.count("num_hidden_layers");
  c.heads = f.count("num_attention_heads");
  if (c.heads == 0) f.fail("num_attention_heads", "expected at least 1, found 0");
  c.kv_heads = f.count("num_key_value_heads", c.heads);
  c.head_width = f.count("head_dim", head_dim);
  c.inner = f.count("intermediate_size");
  c.context = f.count("max_position_embeddings");
  c.norm_eps = f.positive("rms_norm_eps", eps);
  c.tied_embeddings = f.flag("tie_word_embeddings", tied);
  return c;
}

inline void no_bias(JsonFields& f) { f.require_flag("attention_bias", false, false); }

inline nn::TransformerConfig read_llama(JsonFields& f) {
  nn::TransformerConfig c = read_rotary(f, 0, 1e-6, false);
  f.one_of("hidden_act", {"silu"});
  c.bias = f.flag("attention_bias", false);
  if (f.flag("mlp_bias", false) != c.bias)
    f.fail("mlp_bias", "expected the same as attention_bias, found the other; calm has biases in both or in neither");
  read_rope(f, c);
  return c;
}

/// Mistral and Phi-3: every block has the window, if there is one.
inline nn::TransformerConfig read_mistral(JsonFields& f, double eps, std::size_t window, RopeDefaults rope = {}) {
  nn::TransformerConfig c = read_rotary(f, 0, eps, false);
  f.one_of("hidden_act", {"silu"});
  no_bias(f);
  c.window = f.count_or_none("sliding_window", window);
  read_rope(f, c, rope);
  return c;
}

inline void read_local(JsonFields& f, nn::TransformerConfig& c, std::size_t window, auto is_local) {
  if (!set_local(c, window, read_layer_types(f, c.layers, is_local)))
    f.fail("layer_types", "expected local blocks that are all, the first ones, or all but each n-th, and a window; "
                          "found another order");
}

inline nn::TransformerConfig read_qwen(JsonFields& f, bool third) {
  nn::TransformerConfig c = read_rotary(f, third ? 128 : 0, 1e-6, false);
  f.one_of("hidden_act", {"silu"});
  no_bias(f);
  c.qkv_bias = !third;
  c.qk_norm = third;
  const std::size_t window = f.count_or_none("sliding_window", 4096), last = f.count("max_window_layers", 28);
  const bool windowed = f.flag("use_sliding_window", false) && window > 0;
  read_local(f, c, windowed ? window : 0, [&](std::size_t i) { return windowed && i >= last; });
  read_rope(f, c);
  return c;
}

/// What the Gemmas share. Older files say that the activation is "gelu" and mean its tanh form.
inline nn::TransformerConfig read_gemma(JsonFields& f) {
  nn::TransformerConfig c = read_rotary(f, 256, 1e-6, true);
  f.one_of("hidden_act", {"gelu_pytorch_tanh", "gelu"});
  f.one_of("hidden_activation", {"gelu_pytorch_tanh", "gelu"});
  no_bias(f);
  f.require_flag("use_bidirectional_attention", false, false);
  c.norm = nn::NormKind::rms_plus_one;
  c.mlp = nn::MlpKind::geglu;
  c.embedding_scale = std::sqrt(static_cast<double>(c.hidden));
  return c;
}

/// Gemma 2, and the text part of Gemma 3.
inline nn::TransformerConfig read_later_gemma(JsonFields& f, bool third) {
  nn::TransformerConfig c = read_gemma(f);
  c.post_norms = true;
  c.qk_norm = third;
  c.query_scale = 1 / std::sqrt(f.positive("query_pre_attn_scalar", 256.0));
  c.attention_softcap = f.positive_or_none("attn_logit_softcapping", third ? 0 : 50);
  c.logits_softcap = f.positive_or_none("final_logit_softcapping", third ? 0 : 30);
  const std::size_t pattern = third ? f.count("sliding_window_pattern", 6) : 2;
  if (pattern == 0) f.fail("sliding_window_pattern", "expected at least 1, found 0");
  read_local(f, c, f.count_or_none("sliding_window", 4096), [&](std::size_t i) { return (i + 1) % pattern != 0; });
  read_rope(f, c, {.local = third, .theta = third ? 1e6 : 1e4});
  return c;
}

inline nn::TransformerConfig read_config_of(Family family, JsonFields& f) {
  switch (family) {
    case Family::gpt2: return read_gpt2(f);
    case Family::llama: return read_llama(f);
    case Family::mistral: return read_mistral(f, 1e-6, 4096);
    case Family::qwen2: return read_qwen(f, false);
    case Family::qwen3: return read_qwen(f, true);
    case Family::gemma: {
      nn::TransformerConfig c = read_gemma(f);
      read_rope(f, c);
      return c;
    }
    case Family::gemma2: return read_later_gemma(f, false);
    case Family::gemma3_text: return read_later_gemma(f, true);
    case Family::phi3: return read_mistral(f, 1e-5, 0, {.original_context = 4096});
  }
  return {};
}

inline Family read_family(JsonFields& f) {
  const std::string type = f.text("model_type");
  std::string known;
  for (const auto& [name, family] : families) {
    if (name == type) return family;
    known.append(known.empty() ? "" : ", ").append(name);
  }
  f.fail("model_type", "expected one of " + known + ", found " + in_quotes(type));
}

/// Refuses what no module could be made of, so that a specification that is written compiles.
inline void check_config(JsonFields& f, const nn::TransformerConfig& c) {
  const auto require = [&](bool ok, const char* key, const char* what) {
    if (!ok) f.fail(key, what);
  };
  const bool gpt2 = c.positions == nn::PositionKind::learned;
  require(c.vocab > 0, "vocab_size", "expected at least 1, found 0");
  require(c.hidden > 0, gpt2 ? "n_embd" : "hidden_size", "expected at least 1, found 0");
  require(c.layers > 0 && c.layers <= 1024, gpt2 ? "n_layer" : "num_hidden_layers", "expected 1 to 1024");
  require(c.context > 0, gpt2 ? "n_positions" : "max_position_embeddings", "expected at least 1, found 0");
  const char* heads = gpt2 ? "n_head" : "num_attention_heads";
  require(c.heads > 0 && (c.head_width > 0 || c.hidden % c.heads == 0), heads, "it does not divide the hidden width");
  require(c.key_heads() > 0 && c.heads % c.key_heads() == 0, heads, "num_key_value_heads does not divide it");
  require(gpt2 || c.width_of_head() % 2 == 0, "head_dim", "expected an even number, which can turn in pairs");
  require(c.rotary_width % 2 == 0, "partial_rotary_factor", "expected a part of the head that is even");
}

/// Leaves out what follows from the rest, so that a specification shows what is special.
inline void shorten(nn::TransformerConfig& c) {
  if (c.kv_heads == c.heads) c.kv_heads = 0;
  if (c.head_width * c.heads == c.hidden) c.head_width = 0;
  if (c.inner == 4 * c.hidden) c.inner = 0;
  const double usual = 1 / std::sqrt(static_cast<double>(c.width_of_head()));
  if (std::abs(c.query_scale - usual) < 1e-12) c.query_scale = 0;
}

}  // namespace detail

/// Reads a config.json, `path`, of transformers 4 or 5. Throws `Error` for a family, a kind of positions, a
/// quantisation, remote code, or any field that calm does not know, by name.
inline ModelConfig read_model_config(const std::string& path) {
  const nlohmann::json json = read_json(path);
  JsonFields f(path, json);
  const Family family = detail::read_family(f);
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (f.has(key)) f.fail(key, "the weights are quantised, calm reads plain ones; take a copy of before that");
  }
  if (f.has("auto_map")) {
    f.fail("auto_map", "the model brings code of its own, which calm does not run; if it is a plain " +
                           f.text("model_type") + ", remove the field");
  }
  for (const char* key : {"is_encoder_decoder", "lm_head_bias", "rope_interleaved", "use_mrope"})
    f.require_flag(key, false, false);
  ModelConfig model{family, detail::read_config_of(family, f)};
  f.finish(detail::idle_fields);
  detail::check_config(f, model.config);
  detail::shorten(model.config);
  return model;
}

}  // namespace calm::io
