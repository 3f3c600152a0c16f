/// \file  Bridges that were trained with google-deepmind/calm, under the names and with the arithmetic of that project.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "calm/compose/bridge.hpp"
#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/io/hugging_face/shards.hpp"
#include "calm/io/json_file.hpp"
#include "calm/nn/initialise.hpp"

namespace calm {

namespace detail {

/// Whether bridges of these options compute what that project's layer does, but for its missing mask.
constexpr bool is_deepmind_layer(const BridgeConfig& c) {
  return !c.normalise_query && !c.normalise_augment && !c.normalise_keys && !c.sink && c.recency == 0 &&
         c.gate == BridgeGate::tanh && c.normalise_output && c.bias && c.kv_heads == 0 && c.width == 0 &&
         c.rank == 0 && c.mix == 1;
}

/// A tanh gate there is 1 to the last bit, in every type. It then has no gradient: the norm's scale is what is trained,
/// as in the original.
inline constexpr double open_gate = 20;

/// The (anchor layer, augment layer) of each hook in its order: "connections" as they stand; or as many as
/// "num_connections" says, evenly spaced from the first layer of each model to its last, rounded down.
inline std::vector<std::pair<std::size_t, std::size_t>> deepmind_links(io::JsonFields& fields,
                                                                       std::size_t anchor_depth,
                                                                       std::size_t augment_depth) {
  std::vector<std::pair<std::size_t, std::size_t>> links;
  if (const nlohmann::json* list = fields.find("connections")) {
    const auto is_layer = [](const nlohmann::json& n) { return n.is_number_unsigned(); };
    for (const nlohmann::json& pair : list->is_array() ? *list : nlohmann::json::array()) {
      if (!pair.is_array() || pair.size() != 2 || !is_layer(pair[0]) || !is_layer(pair[1]))
        fields.fail("connections", "expected pairs of an anchor layer and an augment layer");
      links.emplace_back(pair[0].get<std::size_t>(), pair[1].get<std::size_t>());
    }
    return links;
  }
  const std::size_t n = fields.count("num_connections");
  const auto layer = [&](std::size_t i, std::size_t depth) {
    if (i > 0 && i + 1 == n) return depth - 1;
    const double step = n > 1 ? static_cast<double>(depth - 1) / static_cast<double>(n - 1) : 0;
    return static_cast<std::size_t>(std::floor(static_cast<double>(i) * step));
  };
  if (n > anchor_depth) fields.fail("num_connections", "expected at most one for each layer, found more");
  for (std::size_t i = 0; i < n; ++i) links.emplace_back(layer(i, anchor_depth), layer(i, augment_depth));
  return links;
}

/// Calls f(parameter, name, part, parts): the parameter is part `part`, of `parts` that lie one below the other, of the
/// tensor `name`, in the words of torch.nn.MultiheadAttention.
template <class B, class F>
void for_each_hook_tensor(B& bridge, const std::string& hook, F&& f) {
  const std::string attention = hook + "cross_attention.";
  f(bridge.proj.weight, hook + "proj.weight", 0u, 1u);
  f(bridge.proj.bias, hook + "proj.bias", 0u, 1u);
  f(bridge.q_proj.weight, attention + "in_proj_weight", 0u, 3u);
  f(bridge.k_proj.weight, attention + "in_proj_weight", 1u, 3u);
  f(bridge.v_proj.weight, attention + "in_proj_weight", 2u, 3u);
  f(bridge.q_proj.bias, attention + "in_proj_bias", 0u, 3u);
  f(bridge.k_proj.bias, attention + "in_proj_bias", 1u, 3u);
  f(bridge.v_proj.bias, attention + "in_proj_bias", 2u, 3u);
  f(bridge.o_proj.weight, attention + "out_proj.weight", 0u, 1u);
  f(bridge.o_proj.bias, attention + "out_proj.bias", 0u, 1u);
  f(bridge.norm_output.weight, hook + "post_attention_layernorm.weight", 0u, 1u);
}

/// Throws unless the tensor of a hook is there, in the shape that `parameter` needs and of a type that converts.
template <class P>
void check_hook_tensor(io::SafetensorsShards& shards, const P&, const std::string& name, std::size_t parts) {
  using Shape = typename P::tensor_type::shape_type;
  const auto axes = Shape{}.extents();
  std::vector<std::size_t> extents(axes.begin(), axes.end());
  extents[0] *= parts;
  const io::SafetensorsFile& file = shards.file_of(name);
  const io::SafetensorsEntry& found = file.entry(name);
  const bool floating = found.dtype == "F32" || found.dtype == "F64" || found.dtype == "BF16" || found.dtype == "F16";
  require(found.shape == extents && floating, [&] {
    return "calm: " + file.path() + ": tensor " + io::detail::in_quotes(name) + ": expected shape " +
           io::detail::shape_text(extents) + " in F32, F64, BF16 or F16, found " +
           io::detail::shape_text(found.shape) + " in " + std::string(found.dtype) +
           "; compose the two models that the bridges were trained between";
  });
}

template <class P>
void read_hook_tensor(io::SafetensorsShards& shards, P& parameter, const std::string& name, std::size_t part) {
  using X = typename P::tensor_type;
  using T = typename X::value_type;
  const std::size_t size = typename X::shape_type{}.size();
  const auto stored = shards.file_of(name).template read<T>(name, part * size, size);
  X x = X::from({}, stored.data);
  if (name.ends_with("layernorm.weight")) {  // stored as what is added to 1
    for (std::size_t i = 0; i < size; ++i) x.mutable_data()[i] = static_cast<T>(static_cast<T>(1) + x.data()[i]);
  }
  parameter.assign(std::move(x));
}

/// The prefix of the hook that becomes each bridge of `Part`. Throws unless config.json says what the bridges are.
template <class Part, class Anchor>
std::vector<std::string> deepmind_hooks(const std::string& path) {
  using Map = typename Part::map;
  const nlohmann::json json = io::read_json(path);
  io::JsonFields fields(path, json);
  const std::string type = fields.text("model_type", "none");
  if (type != "calm") fields.fail("model_type", "expected 'calm', found " + io::detail::in_quotes(type));
  const std::size_t heads = Part::bridge_type::Head::extent;
  if (fields.count("num_heads", 1) != heads)
    fields.fail("num_heads", "expected " + std::to_string(heads) + ", the heads of the composition's bridges");
  if (fields.has("anchor_config")) {
    io::JsonFields anchor = fields.object("anchor_config");
    if (anchor.positive("rms_norm_eps", 1e-6) != 1e-6)
      anchor.fail("rms_norm_eps", "expected 1e-6, that of calm's bridges");
  }
  const auto links = deepmind_links(fields, Anchor::depth, Part::part::augment::depth);
  std::vector<std::string> hooks;
  for (std::size_t i = 0; i < Map::size; ++i) {
    const auto hook = std::find(links.begin(), links.end(), std::pair(Map::target[i], Map::source[i]));
    if (hook == links.end() || links.size() != Map::size)
      fields.fail("connections", "expected " + std::to_string(Map::size) + ", and among them anchor layer " +
                                     std::to_string(Map::target[i]) + " with augment layer " +
                                     std::to_string(Map::source[i]) + "; found " + std::to_string(links.size()));
    hooks.push_back("cross_attention_hooks." + std::to_string(hook - links.begin()) + ".");
  }
  return hooks;
}

/// The tensors of `directory`. Throws, with the command that converts them, if they are not safetensors.
inline io::SafetensorsShards deepmind_tensors(const std::string& directory) {
  const auto has = [&](const char* name) { return std::filesystem::exists(std::filesystem::path(directory) / name); };
  require(has("model.safetensors") || has("model.safetensors.index.json"), [&] {
    return "calm: " + directory + ": expected model.safetensors, found none; google-deepmind/calm saves pickles, which "
           "run code when they are opened and are never read here. If you trust the file, convert it: python3 -c "
           "\"import torch; from safetensors.torch import save_file; t = torch.load('pytorch_model.bin', "
           "weights_only=True); save_file({k: v.contiguous() for k, v in t.items() if 'cross_attention_hooks' in k}, "
           "'model.safetensors')\"";
  });
  return io::SafetensorsShards::open(directory);
}

/// Fills `bridges` from `hooks`; all is checked before the first parameter is assigned.
template <class Bridges>
void read_hooks(io::SafetensorsShards& tensors, const std::vector<std::string>& hooks, Bridges& bridges) {
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    for_each_hook_tensor(bridges[i], hooks[i], [&](auto& p, const std::string& name, unsigned, unsigned parts) {
      check_hook_tensor(tensors, p, name, parts);
    });
  }
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    for_each_hook_tensor(bridges[i], hooks[i], [&](auto& p, const std::string& name, unsigned part, unsigned) {
      read_hook_tensor(tensors, p, name, part);
    });
    nn::detail::assign_constant(bridges[i].gate, open_gate);
  }
}

}  // namespace detail

/// Fills the bridges of `model` with those that google-deepmind/calm trained between the same two models: `directory`
/// holds its config.json (model_type "calm") and model.safetensors, or shards. Other tensors than
/// cross_attention_hooks.* are left alone.
///
/// The function is the original's, but for two defects: it has no mask, so that a position reads the augment's states
/// of later ones, and padding. Under our mask the last position of a text gives the original's result. The composition
/// needs the options `bridge::DeepMind`, or the same with other `heads`; the gates are set to 1.
///
/// Throws `Error`, and changes nothing, if heads, links, shapes or the norm's epsilon are others, or a tensor is not
/// there.
template <class Model>
void import_deepmind_bridges(Model& model, const std::string& directory) {
  static_assert(Model::branches == 1, "calm::import_deepmind_bridges: google-deepmind/calm has one augment");
  using Part = typename Model::template branch_type<0>;
  static_assert(detail::is_deepmind_layer(Part::bridge_type::config),
                "calm::import_deepmind_bridges: the bridges need the options bridge::DeepMind, or the same with heads");
  static_assert(Part::map::stops == Part::map::size,
                "calm::import_deepmind_bridges: two links stand on one anchor layer; there the original's second hook "
                "reads what the first one wrote, and ours does not");
  if constexpr (detail::is_deepmind_layer(Part::bridge_type::config)) {  // one error, not one more for each tensor
    const auto hooks = detail::deepmind_hooks<Part, typename Model::anchor_type>(directory + "/config.json");
    auto tensors = detail::deepmind_tensors(directory);
    detail::read_hooks(tensors, hooks, model.template branch<0>().bridges);
  }
}

}  // namespace calm
