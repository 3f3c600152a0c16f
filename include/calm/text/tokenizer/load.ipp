/// \file  Definitions of load.hpp, and with them the readers of all files.
#pragma once

#include <filesystem>
#include <string>

#include "calm/tensor/error.hpp"
#include "calm/text/tokenizer/load.hpp"
#include "calm/text/tokenizer/sentencepiece.hpp"
#include "calm/text/tokenizer/tiktoken.hpp"
#include "calm/text/tokenizer/tokenizer_json.hpp"

namespace calm::text {

CALM_INLINE Tokenizer load_tokenizer(const std::string& directory) {
  const std::filesystem::path folder(directory);
  const auto has = [&](const char* name) { return std::filesystem::is_regular_file(folder / name); };
  const auto path = [&](const char* name) { return (folder / name).string(); };
  if (has("tokenizer.json")) return load_tokenizer_json(path("tokenizer.json"));
  if (has("tokenizer.model")) return load_sentencepiece(path("tokenizer.model"));
  if (has("vocab.json") && has("merges.txt")) return load_gpt2_bpe(path("vocab.json"), path("merges.txt"));
  throw Error("calm::text: " + directory + ": expected tokenizer.json, tokenizer.model, or vocab.json and merges.txt, "
              "found none of them; for tiktoken's and llama2.c's files call load_tiktoken or load_llama2c");
}

}  // namespace calm::text
