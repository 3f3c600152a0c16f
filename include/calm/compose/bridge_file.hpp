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
    text += (i ? "," : "") + std::to_string(Map::augment[i]) + ">" + std::to_string(Map::anchor[i]);
  }
  return text;
}

inline std::string options_text(const BridgeConfig& c, std::size_t heads) {
  static constexpr const char* masks[] = {"causal", "prefix", "encoder"};
  return "heads=" + std::to_string(heads) + " normalise_query=" + std::to_string(c.normalise_query) +
         " normalise_augment=" + std::to_string(c.normalise_augment) + " sink=" + std::to_string(c.sink) +
         " recency=" + std::to_string(c.recency) +
         " recency_octaves=" + std::to_string(c.recency_octaves) +
         " mask=" + masks[static_cast<std::size_t>(c.mask)];
}

/// What a bridge file says of its composition; every entry must agree when it is loaded.
template <class Model>
std::map<std::string, std::string> bridge_identity(Model& model) {
  return {{"calm.anchor.sha256", io::weights_sha256(model.anchor)},
          {"calm.augment.sha256", io::weights_sha256(model.augment)},
          {"calm.links", links_text<typename Model::map>()},
          {"calm.bridge", options_text(Model::options::config, Model::bridge_type::Head::extent)}};
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
