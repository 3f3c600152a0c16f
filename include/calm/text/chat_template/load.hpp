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

/// The templates of tokenizer_config.json by name; a single one is "default".
inline std::vector<std::pair<std::string, std::string>> templates_in(const nlohmann::json& config,
                                                                     const std::string& path) {
  const auto it = config.find("chat_template");
  if (it == config.end() || it->is_null()) return {};
  if (it->is_string()) return {{"default", it->get<std::string>()}};
  std::vector<std::pair<std::string, std::string>> out;
  const auto is_text = [](const nlohmann::json& entry, const char* key) {
    return entry.is_object() && entry.contains(key) && entry[key].is_string();
  };
  if (it->is_array()) {
    for (const nlohmann::json& entry : *it) {
      if (is_text(entry, "name") && is_text(entry, "template"))
        out.emplace_back(entry["name"].get<std::string>(), entry["template"].get<std::string>());
    }
  }
  if (!it->is_array() || out.size() != it->size())
    throw Error("calm::text: " + path +
                ": chat_template: expected a text, or a list of objects with \"name\" and "
                "\"template\", found another kind of value");
  return out;
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
inline bool has_chat_template(const std::string& directory) {
  const std::filesystem::path folder(directory);
  if (std::filesystem::is_regular_file(folder / "chat_template.jinja")) return true;
  const std::string config = (folder / "tokenizer_config.json").string();
  return std::filesystem::is_regular_file(config) && !detail::templates_in(io::read_json(config), config).empty();
}

/// Reads the chat template of a Hugging Face directory, with its special tokens as variables: chat_template.jinja, or
/// what tokenizer_config.json has. Of several named ones that is `name`, or without one "default", and for chats with
/// tools "tool_use" if it is there. Throws `Error` if there is none, or it is not of the language.
inline ChatTemplate load_chat_template(const std::string& directory, const std::string& name = "") {
  const std::filesystem::path folder(directory);
  const std::string config_path = (folder / "tokenizer_config.json").string();
  const bool has_config = std::filesystem::is_regular_file(config_path);
  const nlohmann::json config = has_config ? io::read_json(config_path) : nlohmann::json::object();
  calm::detail::require(config.is_object(), [&] {
    return "calm::text: " + config_path + ": expected an object, found " + config.type_name();
  });
  std::vector<std::pair<std::string, std::string>> found = detail::templates_in(config, config_path);
  std::string place = config_path + ": chat_template";
  const std::string file = (folder / "chat_template.jinja").string();
  if (std::filesystem::is_regular_file(file)) {
    found = {{"default", io::read_file(file, jinja::max_source_bytes)}};
    place = file;
  }
  const auto parsed = [&](const std::string& wanted) -> std::optional<ChatTemplate> {
    for (const auto& [key, source] : found) {
      if (key == wanted) return ChatTemplate::parse(source, found.size() > 1 ? place + " '" + key + "'" : place);
    }
    return {};
  };
  std::optional<ChatTemplate> out = parsed(name.empty() ? "default" : name);
  if (!out) {
    std::string names;
    for (const auto& [key, source] : found) names += (names.empty() ? "" : ", ") + key;
    throw Error("calm::text: " + directory + ": expected a chat template" + (name.empty() ? "" : " named " + name) +
                " in chat_template.jinja or tokenizer_config.json, found " +
                (names.empty() ? "none; it is a base model, or its template must be given" : names));
  }
  if (const auto tool_use = name.empty() ? parsed("tool_use") : std::nullopt) out->set_tool_use(*tool_use);
  detail::set_special_tokens(config, config_path, *out);
  return *std::move(out);
}

}  // namespace calm::text
