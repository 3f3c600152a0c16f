/// \file  Which blocks are local, as config.json says it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/nn/config.hpp"

namespace calm::io::detail {

/// Whether each block is local, by "layer_types" if that is there, else by `otherwise(layer)`.
template <class F>
std::vector<bool> read_layer_types(JsonFields& fields, std::size_t layers, F otherwise) {
  std::vector<bool> local;
  const nlohmann::json* types = fields.find("layer_types");
  if (types == nullptr) {
    for (std::size_t i = 0; i < layers; ++i) local.push_back(otherwise(i));
    return local;
  }
  if (!types->is_array() || types->size() != layers)
    fields.fail("layer_types", "expected a list with " + std::to_string(layers) + " entries, one per layer");
  for (const auto& type : *types) {
    if (type != "full_attention" && type != "sliding_attention")
      fields.fail("layer_types", "expected full_attention or sliding_attention, found " + in_quotes(type.dump()));
    local.push_back(type == "sliding_attention");
  }
  return local;
}

/// Puts the window and the blocks that have it into `c`. False if no TransformerConfig says so.
inline bool set_local(nn::TransformerConfig& c, std::size_t window, const std::vector<bool>& local) {
  const auto says_so = [&](std::size_t global_every, std::size_t local_layers) {
    c.window = window;
    c.global_every = global_every;
    c.local_layers = local_layers;
    for (std::size_t i = 0; i < local.size(); ++i) {
      if (c.is_local(i) != local[i]) return false;
    }
    return true;
  };
  if (window > 0 && says_so(0, 0)) return true;
  for (std::size_t every = 2; window > 0 && every <= local.size(); ++every) {
    if (says_so(every, 0)) return true;
  }
  for (std::size_t first = 1; window > 0 && first < local.size(); ++first) {
    if (says_so(0, first)) return true;
  }
  window = 0;
  return says_so(0, 0);
}

}  // namespace calm::io::detail
