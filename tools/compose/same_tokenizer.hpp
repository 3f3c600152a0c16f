/// \file  Whether two model directories have one tokenizer.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "calm/io/file.hpp"
#include "calm/io/json_file.hpp"

namespace calm::programs {

/// Whether the tokenizers of two directories are the same, so that tokens of one model mean the same to the other: the
/// parts of tokenizer.json that make tokens are equal (what it puts around a text may differ), or the other kinds of
/// files are, byte for byte. The files looked at are those that text::load_tokenizer reads.
inline bool same_tokenizer(const std::string& left, const std::string& right) {
  const auto has = [](const std::string& directory, const char* name) {
    return std::filesystem::is_regular_file(directory + '/' + name);
  };
  const auto same_bytes = [&](const char* name) {
    if (!has(left, name) || !has(right, name)) return false;
    const auto a = io::MappedFile::open(left + '/' + name), b = io::MappedFile::open(right + '/' + name);
    return a.size() == b.size() && std::equal(a.data(), a.data() + a.size(), b.data());
  };
  if (has(left, "tokenizer.json") || has(right, "tokenizer.json")) {
    if (!has(left, "tokenizer.json") || !has(right, "tokenizer.json")) return false;
    if (same_bytes("tokenizer.json")) return true;
    const nlohmann::json a = io::read_json(left + "/tokenizer.json"), b = io::read_json(right + "/tokenizer.json");
    if (!a.is_object() || !b.is_object()) return false;
    for (const char* part : {"model", "normalizer", "pre_tokenizer", "added_tokens"}) {
      if (a.value(part, nlohmann::json()) != b.value(part, nlohmann::json())) return false;
    }
    return true;
  }
  return same_bytes("tokenizer.model") || (same_bytes("vocab.json") && same_bytes("merges.txt"));
}

}  // namespace calm::programs
