/// \file  tokenizer.json, the format of Hugging Face's `tokenizers`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "calm/text/tokenizer/byte_alphabet.hpp"
#include "calm/text/tokenizer/strict_json.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "calm/text/tokenizer/tokenizer_json_steps.hpp"

namespace calm::text {

namespace detail {

/// An id as files give it; a vocabulary of `size` pieces may leave that many numbers out, so that a damaged file asks
/// for no more memory than its own length justifies.
inline TokenId checked_id(const JsonValue& value, std::size_t size) {
  const std::uint64_t id = value.count();
  const std::uint64_t limit = 2 * std::uint64_t{size} + 65'536;
  if (id >= limit)
    value.fail("expected an id below " + std::to_string(limit) + " in a vocabulary of " + std::to_string(size) +
               " pieces, found " + std::to_string(id));
  return static_cast<TokenId>(id);
}

/// Whether a step of type ByteLevel is in `step`, so that pieces spell bytes.
inline bool is_byte_level(const JsonValue& step) {
  if (step.is_null()) return false;
  for (const JsonValue& part : sequence(step, "pretokenizers")) {
    if (part["type"].text() == "ByteLevel") return true;
  }
  return false;
}

/// Adds {"piece": id, ...} to `vocabulary`.
inline void read_vocabulary(const JsonValue& vocab, bool is_byte_level, Vocabulary& vocabulary) {
  if (!vocab.raw().is_object()) vocab.expected("an object of pieces and their numbers");
  for (const auto& [piece, number] : vocab.raw().items()) {
    const TokenId id = checked_id(JsonValue(number, vocab.place() + ": " + in_quotes(piece)), vocab.raw().size());
    if (vocabulary.contains(id) && !vocabulary.piece(id).empty())
      vocab.fail("the number " + std::to_string(id) + " stands twice, for " + in_quotes(piece) + " and another piece");
    auto bytes = is_byte_level ? spelled_bytes(piece) : piece;
    const bool in_texts = bytes.has_value();  // what is not spelled in the alphabet is never made of text
    vocabulary.set(id, bytes ? std::move(*bytes) : piece, in_texts);
  }
}

/// One merge of the list: "a b" or ["a", "b"].
inline std::pair<std::string, std::string> read_merge(const JsonValue& merge) {
  if (merge.raw().is_array()) {
    const auto both = merge.items();
    if (both.size() != 2) merge.fail("expected two pieces, found " + std::to_string(both.size()));
    return {both[0].text(), both[1].text()};
  }
  const std::string& text = merge.text();
  const std::size_t blank = text.find(' ');
  if (blank == text.npos || text.find(' ', blank + 1) != text.npos)
    merge.fail("expected two pieces with a blank between them, found " + in_quotes(text));
  return {text.substr(0, blank), text.substr(blank + 1)};
}

/// The merge of rank `rank` into `bpe`; throws unless both pieces and what they make are pieces.
inline void add_merge(const std::string& place, const Vocabulary& vocabulary, bool is_byte_level,
                      const std::pair<std::string, std::string>& merge, std::size_t rank, Bpe& bpe) {
  const auto bytes_of = [&](const std::string& piece) {
    return is_byte_level ? spelled_bytes(piece).value_or(piece) : piece;
  };
  const std::string left = bytes_of(merge.first), right = bytes_of(merge.second);
  const auto find = [&](const std::string& piece) {
    const TokenId id = vocabulary.find(piece);
    calm::detail::require(id != no_token, [&] {
      return "calm::text: " + place + ": merge " + std::to_string(rank) + " of " + in_quotes(merge.first) + " and " +
             in_quotes(merge.second) + ": expected a piece " + in_quotes(piece) + " in the vocabulary, found none";
    });
    return id;
  };
  const TokenId left_id = find(left), right_id = find(right);
  bpe.add_merge(left_id, right_id, static_cast<std::uint32_t>(rank), find(left + right));
}

inline Bpe read_bpe(const JsonValue& model, bool is_byte_level, Vocabulary& vocabulary) {
  read_vocabulary(model["vocab"], is_byte_level, vocabulary);
  if (model.has("dropout") && model["dropout"].number() != 0) model["dropout"].fail("expected none, found some");
  if (!model.text_or("continuing_subword_prefix", "").empty())
    model["continuing_subword_prefix"].expected("none: pieces inside of words without a prefix");
  BpeOptions options{.bytes = is_byte_level,
                     .ignore_merges = model.flag_or("ignore_merges", false),
                     .byte_fallback = model.flag_or("byte_fallback", false),
                     .fuse_unknown = model.flag_or("fuse_unk", false),
                     .word_end = model.text_or("end_of_word_suffix", "")};
  if (is_byte_level && !options.word_end.empty()) model["end_of_word_suffix"].expected("none with ByteLevel");
  if (model.has("unk_token")) {
    options.unknown = vocabulary.find(model["unk_token"].text());
    if (options.unknown == no_token) model["unk_token"].expected("a piece of the vocabulary");
  }
  Bpe bpe(vocabulary, std::move(options));
  const nlohmann::json& merges = model["merges"].raw();
  if (!merges.is_array()) model["merges"].expected("an array");
  const std::string place = model["merges"].place();
  for (std::size_t rank = 0; rank < merges.size(); ++rank)
    add_merge(place, vocabulary, is_byte_level, read_merge(JsonValue(merges[rank], place)), rank, bpe);
  return bpe;
}

inline Unigram<double> read_unigram(const JsonValue& model, Vocabulary& vocabulary) {
  const nlohmann::json& vocab = model["vocab"].raw();
  if (!vocab.is_array() || vocab.empty()) model["vocab"].expected("an array of pieces");
  const auto entry = [&](std::size_t i) { return JsonValue(vocab[i], model["vocab"].place()).items(); };
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    if (entry(i).size() != 2) JsonValue(vocab[i], model["vocab"].place()).fail("expected a piece and its score");
    vocabulary.set(static_cast<TokenId>(i), entry(i)[0].text());
  }
  if (!model.has("unk_id") || model["unk_id"].count() >= vocab.size())
    model.fail("expected unk_id, the number of a piece below " + std::to_string(vocab.size()) + ", found none");
  Unigram<double> unigram(vocabulary, static_cast<TokenId>(model["unk_id"].count()),
                          model.flag_or("byte_fallback", false));
  for (std::size_t i = 0; i < vocab.size(); ++i)
    unigram.add(vocabulary.piece(static_cast<TokenId>(i)), static_cast<TokenId>(i), entry(i)[1].number());
  return unigram;
}

inline WordPiece read_wordpiece(const JsonValue& model, Vocabulary& vocabulary) {
  read_vocabulary(model["vocab"], false, vocabulary);
  const TokenId unknown = vocabulary.find(model["unk_token"].text());
  if (unknown == no_token) model["unk_token"].expected("a piece of the vocabulary");
  const std::string& prefix = model["continuing_subword_prefix"].text();
  return WordPiece(vocabulary, unknown, prefix, static_cast<std::size_t>(model["max_input_chars_per_word"].count()));
}

/// "added_tokens" into `parts`, whose normalizers are read already.
inline void read_added_tokens(const JsonValue& list, TokenizerParts& parts) {
  const std::size_t size = parts.vocabulary.size() + list.raw().size();
  for (const JsonValue& item : list.items()) {
    AddedToken token{checked_id(item["id"], size),       item["content"].some_text(),
                     item.flag_or("single_word", false), item.flag_or("lstrip", false),
                     item.flag_or("rstrip", false),      item.flag_or("normalized", false),
                     item.flag_or("special", false)};
    if (token.single_word) require_unicode("an added token of a single word", item.place());
    const TokenId known = parts.vocabulary.find(token.content);
    if (known != no_token && known != token.id)
      item["id"].fail("expected " + std::to_string(known) + ", the number of " + in_quotes(token.content) +
                      " in the vocabulary, found " + std::to_string(token.id));
    Aligned content(token.content, 0);
    if (token.normalized) for (const Normalizer& step : parts.normalizers) content = step(std::move(content));
    const std::string searched(content.text());  // what it decodes to, too
    if (known == no_token) parts.vocabulary.set(token.id, searched, false);
    parts.added.add(std::move(token), searched);
  }
}

inline void read_surroundings(const JsonValue& processor, TokenizerParts& parts) {
  if (processor.is_null()) return;
  Surroundings out;
  for (const JsonValue& step : sequence(processor, "processors")) read_post_processor(step, out);
  for (const auto* list : {&out.before, &out.after}) {
    for (const TokenId id : *list) {
      if (!parts.vocabulary.contains(id))
        processor.fail("expected ids below " + std::to_string(parts.vocabulary.size()) + ", found " +
                       std::to_string(id));
    }
  }
  parts.before = std::move(out.before);
  parts.after = std::move(out.after);
}

}  // namespace detail

/// Reads the file `path`: models BPE (also with byte fallback), Unigram and WordPiece, with the steps that
/// tokenizer_json_steps.hpp knows. "truncation" and "padding" are left to the caller. Throws `Error` with the key where
/// something is missing, damaged or unknown.
inline Tokenizer load_tokenizer_json(const std::string& path) {
  const nlohmann::json file = detail::read_json(path);
  const detail::JsonValue root(file, path);
  const nlohmann::json nothing;
  const auto part = [&](const std::string& key) {
    return root.has(key) ? root[key] : detail::JsonValue(nothing, path + ": " + key);
  };
  TokenizerParts parts;
  if (const auto step = part("normalizer"); !step.is_null()) {
    for (const auto& one : detail::sequence(step, "normalizers"))
      parts.normalizers.push_back(detail::read_normalizer(one));
  }
  const auto pre_tokenizer = part("pre_tokenizer");
  const bool is_byte_level = detail::is_byte_level(pre_tokenizer);
  if (!pre_tokenizer.is_null()) {
    for (const auto& one : detail::sequence(pre_tokenizer, "pretokenizers"))
      detail::read_pre_tokenizer(one, parts.pre_tokenizers);
  }
  const auto model = root["model"];
  // Old files do not name the type of the model.
  const std::string type = model.text_or("type", model.has("merges")                     ? "BPE"
                                                 : model.has("unk_id")                   ? "Unigram"
                                                 : model.has("max_input_chars_per_word") ? "WordPiece"
                                                                                         : "");
  if (type == "BPE") parts.model = detail::read_bpe(model, is_byte_level, parts.vocabulary);
  else if (type == "Unigram") parts.model = detail::read_unigram(model, parts.vocabulary);
  else if (type == "WordPiece") parts.model = detail::read_wordpiece(model, parts.vocabulary);
  else model.fail("expected a model of type BPE, Unigram or WordPiece, found " + detail::in_quotes(type));
  if (root.has("added_tokens")) detail::read_added_tokens(root["added_tokens"], parts);
  detail::read_surroundings(part("post_processor"), parts);
  parts.decoder = detail::read_decoder(part("decoder"));
  return Tokenizer(std::move(parts));
}

}  // namespace calm::text
