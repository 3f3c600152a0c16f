/// \file  Tokenizers of other projects as tokenizer.json, which calm and `tokenizers` both read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/text/tokenizer/llama2c.hpp"

namespace calm::convert {

namespace detail {

using Json = nlohmann::ordered_json;

inline constexpr const char* mark = "\xE2\x96\x81";  // U+2581, which stands for a blank

inline Json bpe_model(Json vocab, Json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

inline void write_tokenizer_json(const std::string& directory, const Json& tokenizer) {
  std::filesystem::create_directories(directory);
  io::write_file_atomically(directory + "/tokenizer.json", tokenizer.dump(1) + "\n");
}

/// Every way to cut a piece into two others, the pieces in the order of their scores, as transformers makes merges of a
/// SentencePiece model.
inline Json merges_of(const std::vector<std::string>& pieces, const text::detail::SentencePieceModel& model) {
  std::map<std::string, std::size_t> numbers;
  for (std::size_t i = 0; i < pieces.size(); ++i) numbers.emplace(pieces[i], i);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (model.pieces[i].type == text::detail::SentencePieceEntry::normal) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const float left = model.pieces[a].score, right = model.pieces[b].score;
    return left != right ? left > right : a < b;
  });
  Json merges = Json::array();
  for (const std::size_t i : order) {
    const std::string& piece = pieces[i];
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      const std::string left = piece.substr(0, cut), right = piece.substr(cut);
      if (numbers.contains(left) && numbers.contains(right)) merges.push_back(left + ' ' + right);
    }
  }
  return merges;
}

/// The tokenizer of Llama 2 with these pieces: what stands around its model.
inline Json llama2_tokenizer(Json bpe, Json added) {
  const Json blank{{"String", " "}}, marked{{"String", mark}}, text{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json bos{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", mark}},
              {{"type", "Replace"}, {"pattern", blank}, {"content", mark}}}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {bos, text}},
            {"pair", {bos, text, {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {{{"type", "Replace"}, {"pattern", marked}, {"content", " "}},
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model", std::move(bpe)}};
}

}  // namespace detail

/// Writes the tokenizer of llama2.c in `from` as `directory`/tokenizer.json, in the form of Llama 2's: a blank in front
/// of the text, blanks as U+2581, bytes for what has no piece, and BOS in front. Beside it, generation_config.json says
/// that EOS and BOS end a text, as llama2.c's programs have it. Throws `Error`.
inline void convert_llama2c_tokenizer(const std::string& from, const std::string& directory) {
  using detail::Json;
  const auto model = text::detail::read_llama2c(from);
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
  Json vocab, added = Json::array();
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    if (i >= 3) {
      std::string& piece = pieces.emplace_back();
      for (const char c : model.pieces[i].piece) c == ' ' ? piece += detail::mark : piece += c;
    } else {
      added.push_back({{"id", i},
                       {"content", pieces[i]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
    }
    if (vocab.contains(pieces[i]))
      throw Error("calm-convert: " + from + ": two pieces are the same, the second of them number " +
                  std::to_string(i));
    vocab[pieces[i]] = i;
  }
  Json bpe = detail::bpe_model(std::move(vocab), detail::merges_of(pieces, model));
  bpe["unk_token"] = "<unk>";
  bpe["fuse_unk"] = bpe["byte_fallback"] = true;
  detail::write_tokenizer_json(directory, detail::llama2_tokenizer(std::move(bpe), std::move(added)));
  io::write_file_atomically(directory + "/generation_config.json",
                            "{\n  \"bos_token_id\": 1,\n  \"eos_token_id\": [1, 2]\n}\n");
}

/// Writes `directory`/tokenizer.json for a model whose tokens are the digits 0 to `vocab` - 1: of a text it reads these
/// digits and passes over the rest. Throws `Error` for a vocabulary that digits do not number.
inline void write_digit_tokenizer(std::size_t vocab, const std::string& directory) {
  using detail::Json;
  if (vocab == 0 || vocab > 10)
    throw Error("calm-convert: a vocabulary of " + std::to_string(vocab) + " tokens; digits are tokens of at most 10");
  Json pieces;
  for (std::size_t i = 0; i < vocab; ++i) pieces[std::string(1, static_cast<char>('0' + i))] = i;
  detail::write_tokenizer_json(directory, {{"version", "1.0"},
                                           {"truncation", nullptr},
                                           {"padding", nullptr},
                                           {"added_tokens", Json::array()},
                                           {"normalizer", nullptr},
                                           {"pre_tokenizer", nullptr},
                                           {"post_processor", nullptr},
                                           {"decoder", {{"type", "Fuse"}}},
                                           {"model", detail::bpe_model(std::move(pieces), Json::array())}});
}

}  // namespace calm::convert
