/// \file  The chat template of a model's directory.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calm/io/json_file.hpp"
#include "calm/tensor/error.hpp"
#include "calm/text/chat_template.hpp"

namespace calm::text {

namespace detail {

/// A template's text, and where it stands.
struct NamedTemplate {
  std::string name, place, source;
};

/// The JSON object in a file; an empty one if there is no such file.
inline nlohmann::json object_in(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) return nlohmann::json::object();
  nlohmann::json out = io::read_json(path.string());
  calm::detail::require(out.is_object(), [&] {
    return "calm::text: " + path.string() + ": expected an object, found " + out.type_name();
  });
  return out;
}

/// The templates of tokenizer_config.json; a single one is "default".
inline std::vector<NamedTemplate> templates_in(const nlohmann::json& config, const std::string& path) {
  const auto it = config.find("chat_template");
  const std::string place = path + ": chat_template";
  if (it == config.end() || it->is_null()) return {};
  if (it->is_string()) return {{"default", place, it->get<std::string>()}};
  std::vector<NamedTemplate> out;
  const auto is_text = [](const nlohmann::json& entry, const char* key) {
    return entry.is_object() && entry.contains(key) && entry[key].is_string();
  };
  for (const nlohmann::json& entry : it->is_array() ? *it : nlohmann::json::array()) {
    if (!is_text(entry, "name") || !is_text(entry, "template")) continue;
    const auto name = entry["name"].get<std::string>();
    out.push_back({name, place + " '" + name + "'", entry["template"].get<std::string>()});
  }
  if (!it->is_array() || out.size() != it->size())
    throw Error("calm::text: " + place +
                ": expected a text, or a list of objects with \"name\" and \"template\", "
                "found another kind of value");
  return out;
}

/// All templates of a directory: those of files, where there are any, and else those of tokenizer_config.json.
inline std::vector<NamedTemplate> templates_of(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  std::vector<NamedTemplate> out;
  const auto add = [&](const std::string& name, const fs::path& path) {
    out.push_back({name, path.string(), io::read_file(path.string(), jinja::max_source_bytes)});
  };
  if (fs::is_regular_file(folder / "chat_template.jinja")) add("default", folder / "chat_template.jinja");
  if (fs::is_directory(folder / "additional_chat_templates")) {
    for (const auto& entry : fs::directory_iterator(folder / "additional_chat_templates"))
      if (entry.path().extension() == ".jinja") add(entry.path().stem().string(), entry.path());
  }
  const fs::path config = folder / "tokenizer_config.json";
  return out.empty() ? templates_in(object_in(config), config.string()) : out;
}

/// Sets bos_token, eos_token and their kin, which are texts or objects with a "content".
inline void set_special_tokens(const nlohmann::json& config, const std::string& path, ChatTemplate& out) {
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const auto it = config.find(name);
    if (it == config.end() || it->is_null()) continue;
    const bool is_object = it->is_object() && it->contains("content") && (*it)["content"].is_string();
    if (!it->is_string() && !is_object)
      throw Error("calm::text: " + path + ": " + name + ": expected a text or an object with \"content\", found " +
                  it->type_name());
    out.set(name, is_object ? (*it)["content"].get<std::string>() : it->get<std::string>());
  }
}

}  // namespace detail

/// Whether a directory has a chat template; base models have none.
inline bool has_chat_template(const std::string& directory) { return !detail::templates_of(directory).empty(); }

/// Reads the chat template of a Hugging Face directory, with its special tokens as variables: chat_template.jinja and
/// the files of additional_chat_templates, or what tokenizer_config.json has. Of several named ones that is `name`, or
/// without one "default", and for chats with tools "tool_use" if it is there. Throws `Error` if there is none, or it is
/// not of the language.
inline ChatTemplate load_chat_template(const std::string& directory, const std::string& name = "") {
  const std::filesystem::path folder(directory);
  const std::vector<detail::NamedTemplate> found = detail::templates_of(folder);
  const auto parsed = [&](const std::string& wanted) -> std::optional<ChatTemplate> {
    for (const detail::NamedTemplate& one : found) {
      if (one.name == wanted) return ChatTemplate::parse(one.source, one.place);
    }
    return {};
  };
  std::optional<ChatTemplate> out = parsed(name.empty() ? "default" : name);
  if (!out) {
    std::string names;
    for (const detail::NamedTemplate& one : found) names += (names.empty() ? "" : ", ") + one.name;
    throw Error("calm::text: " + directory + ": expected a chat template" + (name.empty() ? "" : " named " + name) +
                " in chat_template.jinja or tokenizer_config.json, found " +
                (names.empty() ? "none; it is a base model, or its template must be given" : names));
  }
  if (const auto tool_use = name.empty() ? parsed("tool_use") : std::nullopt) out->set_tool_use(*tool_use);
  const std::filesystem::path config_path = folder / "tokenizer_config.json", map = folder / "special_tokens_map.json";
  const nlohmann::json config = detail::object_in(config_path);
  detail::set_special_tokens(config, config_path.string(), *out);
  // Older directories have them here; transformers looks only where the configuration lists no added tokens.
  if (!config.contains("added_tokens_decoder")) detail::set_special_tokens(detail::object_in(map), map.string(), *out);
  return *std::move(out);
}

}  // namespace calm::text
