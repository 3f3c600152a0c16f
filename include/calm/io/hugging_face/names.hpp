/// \file  Where each of a model's parameters lies in the checkpoints of its family.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "calm/io/hugging_face/family.hpp"
#include "calm/nn/config.hpp"

namespace calm::io {

/// A tensor of a checkpoint, or the part of it that is one parameter.
struct Source {
  std::string name;
  std::size_t first = 0;    ///< output row at which the part begins
  std::size_t fused = 0;    ///< output rows of the whole tensor; 0: it holds this parameter alone
  bool transposed = false;  ///< stored as [in, out] (GPT-2's Conv1D)
};

namespace detail {

/// `path` ("layers.3.self_attn.q_proj.weight") cut behind the layer's number and in front of the last dot.
struct PathParts {
  std::string_view layer{}, middle{}, kind{};
};

inline PathParts parts_of(std::string_view path) {
  PathParts parts;
  if (path.starts_with("layers.")) {
    const std::size_t dot = path.find('.', 7);
    parts.layer = path.substr(7, dot - 7);
    path.remove_prefix(dot + 1);
  }
  const std::size_t last = path.rfind('.');
  parts.middle = path.substr(0, last);
  parts.kind = path.substr(last + 1);
  return parts;
}

inline Source fused_queries(const nn::TransformerConfig& c, std::string_view middle, std::string name) {
  const std::size_t queries = c.heads * c.width_of_head(), keys = c.key_heads() * c.width_of_head();
  const std::size_t first = middle.ends_with("q_proj") ? 0 : middle.ends_with("k_proj") ? queries : queries + keys;
  return {std::move(name), first, queries + 2 * keys};
}

inline Source gpt2_source(const nn::TransformerConfig& c, const PathParts& at) {
  using Names = std::array<std::pair<std::string_view, std::string_view>, 8>;
  static constexpr Names names{{{"embed_tokens", "wte"},
                                {"embed_positions", "wpe"},
                                {"norm", "ln_f"},
                                {"input_layernorm", "ln_1"},
                                {"post_attention_layernorm", "ln_2"},
                                {"self_attn.o_proj", "attn.c_proj"},
                                {"mlp.up_proj", "mlp.c_fc"},
                                {"mlp.down_proj", "mlp.c_proj"}}};
  std::string name;
  if (!at.layer.empty()) name.append("h.").append(at.layer).append(".");
  std::string_view module = "attn.c_attn";  // queries, keys and values
  for (const auto& [ours, theirs] : names) {
    if (ours == at.middle) module = theirs;
  }
  name.append(module).append(".").append(at.kind);
  Source source = module == "attn.c_attn" ? fused_queries(c, at.middle, name) : Source{name};
  source.transposed = at.kind == "weight" && at.middle.ends_with("_proj");
  return source;
}

inline Source phi3_source(const nn::TransformerConfig& c, const PathParts& at, std::string_view path) {
  std::string layer;
  layer.append("layers.").append(at.layer);
  if (at.middle == "self_attn.q_proj" || at.middle == "self_attn.k_proj" || at.middle == "self_attn.v_proj")
    return fused_queries(c, at.middle, layer + ".self_attn.qkv_proj.weight");
  if (at.middle == "mlp.gate_proj" || at.middle == "mlp.up_proj")
    return {layer + ".mlp.gate_up_proj.weight", at.middle == "mlp.up_proj" ? c.inner_width() : 0, 2 * c.inner_width()};
  return {std::string(path)};
}

}  // namespace detail

/// What stands before the names of the trunk in a checkpoint that also has a head.
inline std::string_view trunk_prefix(Family family) { return family == Family::gpt2 ? "transformer." : "model."; }

/// The source of the parameter that calm calls `path`. `prefix`: `trunk_prefix`, or nothing where a trunk was saved
/// alone.
inline Source source_of(Family family, const nn::TransformerConfig& config, std::string_view path,
                        std::string_view prefix) {
  const detail::PathParts at = detail::parts_of(path);
  if (at.middle == "lm_head") return {std::string(path)};
  Source source = family == Family::gpt2   ? detail::gpt2_source(config, at)
                  : family == Family::phi3 ? detail::phi3_source(config, at, path)
                                           : Source{std::string(path)};
  source.name.insert(0, prefix);
  return source;
}

/// Tensors that old checkpoints hold and that say nothing: masks and tables that are computed.
inline bool is_leftover(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace calm::io
