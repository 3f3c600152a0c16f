/// \file  Bridges as a folder that can be shared: weights, adapter_config.json and a README card.
///
/// The names of the files are those of PEFT, which people know; the kind is calm's own. A cross-attention cannot be
/// merged into weights, so it never pretends to be a LoRA.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "calm/compose/bridge_file.hpp"
#include "calm/io/file.hpp"
#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/io/json_file.hpp"
#include "calm/version.hpp"

namespace calm {

/// What people should know of bridges that they find. All may be empty.
struct BridgeCard {
  std::string anchor{};   ///< the anchor's name or path, as on Hugging Face
  std::string augment{};  ///< the augment's; of several, all of them
  std::string about{};    ///< what it was trained for, and on what; Markdown
};

namespace detail {

/// `adapter_config.json`: what the metadata of the weights say, and the models' names.
inline std::string adapter_config(const BridgeCard& card, const io::SafetensorsMetadata& metadata) {
  nlohmann::ordered_json json{{"peft_type", "CALM"},
                              {"task_type", "CAUSAL_LM"},
                              {"base_model_name_or_path", card.anchor},
                              {"augment_model_name_or_path", card.augment},
                              {"inference_mode", true},
                              {"calm_version", version}};
  for (const auto& [key, value] : metadata) {
    if (key.starts_with("calm.")) json["composition"][key.substr(5)] = value;
  }
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

inline std::string card_text(const BridgeCard& card, const io::SafetensorsMetadata& metadata, std::size_t parameters) {
  const auto quoted = [](const std::string& text) { return nlohmann::json(text).dump(); };
  std::string text = "---\nlibrary_name: calm\n";
  if (!card.anchor.empty()) text.append("base_model: ").append(quoted(card.anchor)).append("\n");
  text.append("tags: [calm, composition]\n---\n\n# A bridge between two language models\n\n");
  if (!card.about.empty()) text.append(card.about).append("\n\n");
  text.append("Both models stay as they are; ").append(std::to_string(parameters));
  text.append(" parameters of cross-attention (CALM, arXiv 2401.02412) were trained between them.\n\n");
  text.append("| | |\n| --- | --- |\n");
  const auto row = [&](const std::string& key, const std::string& value) {
    if (!value.empty()) text.append("| ").append(key).append(" | `").append(value).append("` |\n");
  };
  row("anchor", card.anchor);
  row("augment", card.augment);
  for (const auto& [key, value] : metadata) {
    if (key.starts_with("calm.")) row(key.substr(5), value);
  }
  return text.append("\nTo load it, compose the same two models with the same links and options, and call "
                     "`calm::load_bridge_directory(model, \"this folder\")`.\n");
}

}  // namespace detail

/// Writes the bridges of `model` into `directory`, which is made: `adapter_model.safetensors` as `save_bridges` does,
/// `adapter_config.json` and `README.md`. Each file appears whole or not at all. Throws `Error` as `save_bridges` does.
template <class Model>
void save_bridge_directory(Model& model, const std::string& directory, const BridgeCard& card = {}) {
  std::error_code code;  // where there is no directory, no file can be written either, and that is an Error
  std::filesystem::create_directories(directory, code);
  const std::string weights = directory + "/adapter_model.safetensors";
  save_bridges(model, weights);
  const io::SafetensorsMetadata metadata = io::SafetensorsFile::open(weights).metadata();
  io::write_file_atomically(directory + "/adapter_config.json", detail::adapter_config(card, metadata));
  io::write_file_atomically(directory + "/README.md", detail::card_text(card, metadata, Model::trainable_parameters));
}

/// Reads bridges from a folder that `save_bridge_directory` wrote. What the weights say of the two models, the links
/// and the options must agree, as in `load_bridges`. Throws `Error`, also for adapters of another kind.
template <class Model>
void load_bridge_directory(Model& model, const std::string& directory) {
  const std::string path = directory + "/adapter_config.json";
  const nlohmann::json json = io::read_json(path);
  io::JsonFields fields(path, json);
  const std::string kind = fields.text("peft_type", "none");
  if (kind != "CALM") fields.fail("peft_type", "expected CALM, found " + io::detail::in_quotes(kind) +
                                                   ", an adapter of another kind, which changes a model's own weights");
  load_bridges(model, directory + "/adapter_model.safetensors");
}

}  // namespace calm
