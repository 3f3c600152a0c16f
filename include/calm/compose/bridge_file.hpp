/// \file  The file of a composition's bridges, bound to its two models.
#pragma once

#include <array>
#include <map>
#include <string>

#include "calm/compose/compose.hpp"
#include "calm/io/module_file.hpp"
#include "calm/io/safetensors.hpp"

namespace calm {

namespace detail {

template <class Map>
std::string links_text() {
  std::string text;
  for (std::size_t i = 0; i < Map::size; ++i) {
    if (i > 0) text += ',';
    text += std::to_string(Map::augment[i]) + ">" + std::to_string(Map::anchor[i]);
  }
  return text;
}

/// The options of bridge type `B`. Those that came later are named only where they are not at their defaults, so that
/// files from before they existed are still read.
template <class B>
std::string options_text() {
  constexpr BridgeConfig c = B::config;
  static constexpr const char* masks[] = {"causal", "prefix", "encoder"};
  static constexpr const char* gates[] = {"none", "tanh", "tanh_per_head", "sigmoid"};
  std::string text = "heads=" + std::to_string(B::Head::extent) +
                     " normalise_query=" + std::to_string(c.normalise_query) +
                     " normalise_augment=" + std::to_string(c.normalise_augment) +
                     " sink=" + std::to_string(c.sink) + " recency=" + std::to_string(c.recency) +
                     " recency_octaves=" + std::to_string(c.recency_octaves) +
                     " mask=" + masks[static_cast<std::size_t>(c.mask)];
  if (c.gate != BridgeGate::none) text += std::string(" gate=") + gates[static_cast<std::size_t>(c.gate)];
  if (c.start == BridgeStart::zero_gate) text += " start=zero_gate";
  if (c.normalise_output) text += " normalise_output=1";
  if (c.bias) text += " bias=1";
  if (B::KeyHead::extent != B::Head::extent) text += " kv_heads=" + std::to_string(B::KeyHead::extent);
  if (B::Width::extent != B::Width::natural) text += " width=" + std::to_string(B::Width::extent);
  if (c.rank > 0) text += " rank=" + std::to_string(c.rank);
  return text;
}

/// What a bridge file says of its composition; every entry must agree when it is loaded.
template <class Model>
std::map<std::string, std::string> bridge_identity(Model& model) {
  return {{"calm.anchor.sha256", io::weights_sha256(model.anchor)},
          {"calm.augment.sha256", io::weights_sha256(model.augment)},
          {"calm.links", links_text<typename Model::map>()},
          {"calm.bridge", options_text<typename Model::bridge_type>()}};
}

}  // namespace detail

/// Writes the bridges alone, with the SHA-256 of both models' weights (of the augment: of the part that is used). The
/// file appears whole or not at all.
template <class Model>
void save_bridges(Model& model, const std::string& path) {
  io::save_module(model, path, detail::bridge_identity(model));
}

/// Reads bridges that were trained between these two models. Throws `Error` if the file belongs to other models, links
/// or options, naming what differs; the bridges in memory are then untouched.
template <class Model>
void load_bridges(Model& model, const std::string& path) {
  const auto file = io::SafetensorsFile::open(path);
  static const std::map<std::string, std::string> meaning{
      {"calm.anchor.sha256", "the anchor's weights (SHA-256)"},
      {"calm.augment.sha256", "the augment's weights (SHA-256)"},
      {"calm.links", "the links (augment layer > anchor layer)"},
      {"calm.bridge", "the bridge's options"}};
  for (const auto& [key, wanted] : detail::bridge_identity(model)) {
    const auto found = file.metadata().find(key);
    detail::require(found != file.metadata().end(), [&, &key = key] {
      return path + ": not a bridge file of calm: its metadata lacks \"" + key + "\"";
    });
    detail::require(found->second == wanted, [&, &key = key, &wanted = wanted] {
      return path + ": this bridge was trained for another composition: " + meaning.at(key) + " differ: expected " +
             wanted + ", found " + found->second + "; load the models that it was trained with";
    });
  }
  io::load_module(model, path);
}

}  // namespace calm
