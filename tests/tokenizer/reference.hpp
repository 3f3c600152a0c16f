/// \file  The tokenizers of tests/fixtures/tokenizers.json.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calm/text/tokenizer.hpp"
#include "io/temporary_folder.hpp"
#include "text/test_data.hpp"

namespace calm::test {

inline const nlohmann::json& tokenizer_fixture() {
  static const nlohmann::json parsed = nlohmann::json::parse(contents_of(CALM_FIXTURES "/tokenizers.json"));
  return parsed;
}

/// The tokenizer of a row of the fixture; nothing if its files are not there.
inline std::optional<text::Tokenizer> load_reference(const nlohmann::json& row) {
  std::vector<std::string> paths;
  for (const std::string file : row["files"]) {
    const auto path = row["own"].get<bool>() ? std::optional(std::string(CALM_FIXTURES "/") + file)
                                             : find_test_data(file);
    if (!path) return std::nullopt;
    paths.push_back(*path);
  }
  const std::string loader = row["loader"];
  if (loader == "gpt2") return text::load_gpt2_bpe(paths[0], paths[1]);
  if (loader == "sentencepiece") return text::load_sentencepiece(paths[0]);
  if (loader == "llama2c") return text::load_llama2c(paths[0]);
  if (loader == "json") return text::load_tokenizer_json(paths[0]);
  const auto pieces = static_cast<text::TokenId>(text::load_tiktoken(paths[0]).size());
  return text::load_tiktoken(paths[0], {.special = {{"<|endoftext|>", pieces + 1}, {"<|im_start|>", pieces + 8}}});
}

/// Whether the reference of a row shows special tokens when it decodes.
inline bool shows_special(const nlohmann::json& row) { return row["loader"] == "tiktoken" || row["loader"] == "gpt2"; }

}  // namespace calm::test
