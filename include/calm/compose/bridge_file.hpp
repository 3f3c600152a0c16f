/// \file  The file of a composition's bridges, bound to its two models.
#pragma once

#include <array>
#include <map>
#include <string>
#include <type_traits>

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
    text += std::to_string(Map::source[i]) + ">" + std::to_string(Map::target[i]);
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
  if (c.normalise_keys) text += " normalise_keys=1";
  if (c.mix > 1) text += " mix=" + std::to_string(c.mix);
  return text;
}
/// Those of a bridge of a user's own: its name, where it has one.
template <class B>
  requires(!requires { B::config; })
std::string options_text() {
  if constexpr (requires { B::name; })
    return B::name;
  else
    return "of its own";
}

/// What a bridge file says of its composition; every entry must agree when it is loaded.
template <class Model>
std::map<std::string, std::string> bridge_identity(Model& model) {
  std::map<std::string, std::string> identity{{"calm.anchor.sha256", io::weights_sha256(model.anchor)}};
  model.for_each_branch([&](auto i, auto& branch) {
    using B = std::remove_cvref_t<decltype(branch)>;
    const std::string prefix = Model::branches > 1 ? "calm.augments." + std::to_string(i) + "." : "calm.";
    identity[prefix + (Model::branches > 1 ? "sha256" : "augment.sha256")] = io::weights_sha256(branch.augment);
    identity[prefix + "links"] = links_text<typename B::map>();
    identity[prefix + "bridge"] = options_text<typename B::bridge_type>();
    if constexpr (requires { B::backs; }) {
      identity[prefix + "back.links"] = links_text<typename B::back_map>();
      identity[prefix + "back.bridge"] = options_text<typename B::back_bridge_type>();
    }
  });
  return identity;
}

/// What an entry says, for people.
inline std::string meaning_of(const std::string& key) {
  static const std::array<std::array<const char*, 2>, 6> meanings{{
      {"anchor.sha256", "the anchor's weights (SHA-256)"},
      {"sha256", "the augment's weights (SHA-256)"},
      {"back.links", "the links back (anchor layer > augment layer)"},
      {"links", "the links (augment layer > anchor layer)"},
      {"back.bridge", "the options of the bridges back"},
      {"bridge", "the bridge's options"}}};
  for (const auto& [end, meaning] : meanings) {
    if (key.ends_with(end)) return meaning + (key.starts_with("calm.augments.") ? " (" + key + ")" : std::string());
  }
  return key;
}

}  // namespace detail

/// Writes the bridges alone, with the SHA-256 of both models' weights (of the augment: of the part that is used). The
/// file appears whole or not at all. Throws `Error` where it cannot be written.
template <class Model>
void save_bridges(Model& model, const std::string& path) {
  io::save_module(model, path, detail::bridge_identity(model));
}

/// Reads bridges that were trained between these two models. Throws `Error` if the file belongs to other models, links
/// or options, naming what differs; the bridges in memory are then untouched.
template <class Model>
void load_bridges(Model& model, const std::string& path) {
  const auto file = io::SafetensorsFile::open(path);
  for (const auto& [key, wanted] : detail::bridge_identity(model)) {
    const auto found = file.metadata().find(key);
    detail::require(found != file.metadata().end(), [&, &key = key] {
      return path + ": not a bridge file of calm: its metadata lacks \"" + key + "\"";
    });
    detail::require(found->second == wanted, [&, &key = key, &wanted = wanted] {
      return path + ": this bridge was trained for another composition: " + detail::meaning_of(key) +
             " differ: expected " + wanted + ", found " + found->second + "; load the models that it was trained with";
    });
  }
  io::load_module(model, path);
}

}  // namespace calm
