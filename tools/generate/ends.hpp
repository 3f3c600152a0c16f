/// \file  What stands around a text before a model reads it, and what ends one.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/io/json_file.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"

namespace calm::programs {

/// The tokens at a text's ends.
struct Ends {
  std::vector<Index> begin;  ///< in front of each text; often BOS or nothing
  std::vector<Index> end;    ///< each of them ends a text; empty: the model has none
};

namespace detail {

/// The tokens of field `key` in the first file of the directory that says any.
inline std::vector<Index> tokens_in(const std::string& directory, const std::string& key) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string path = directory + '/' + name;
    if (!std::filesystem::is_regular_file(path)) continue;
    const nlohmann::json json = io::read_json(path);
    if (auto tokens = io::JsonFields(path, json).tokens(key); !tokens.empty()) return tokens;
  }
  return {};
}

/// What the tokenizer's template puts in front of a text: the tokens that end before its first byte.
inline std::vector<Index> template_begin(const text::Tokenizer& tokenizer) {
  std::vector<Index> tokens;
  for (const text::Token& token : tokenizer.encode("a")) {
    if (token.end == 0) tokens.push_back(token.id);
  }
  return tokens;
}

/// Whether a SentencePiece model, which has no template, is read behind a BOS: yes, unless tokenizer_config.json says
/// otherwise (as in transformers' LlamaTokenizer).
inline bool adds_bos(const std::string& directory) {
  const std::string path = directory + "/tokenizer_config.json";
  if (!std::filesystem::is_regular_file(path)) return true;
  const nlohmann::json json = io::read_json(path);
  return io::JsonFields(path, json).flag("add_bos_token", true);
}

}  // namespace detail

/// The ends of texts for the model in `directory`, whose tokenizer is `tokenizer`. Throws `Error` for a field that
/// holds no tokens.
inline Ends read_ends(const std::string& directory, const text::Tokenizer& tokenizer) {
  Ends ends{detail::template_begin(tokenizer), detail::tokens_in(directory, "eos_token_id")};
  const auto has = [&](const char* name) { return std::filesystem::is_regular_file(directory + '/' + name); };
  if (!has("tokenizer.json") && has("tokenizer.model") && detail::adds_bos(directory))
    ends.begin = detail::tokens_in(directory, "bos_token_id");
  return ends;
}

/// The tokens of `text` as the model reads it.
inline std::vector<Index> tokens_of(const text::Tokenizer& tokenizer, const Ends& ends, std::string_view text) {
  std::vector<Index> tokens = ends.begin;
  const auto ids = tokenizer.ids(text, text::Template::leave);
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  return tokens;
}

}  // namespace calm::programs
