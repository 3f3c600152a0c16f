/// \file  The files of byte-level BPE without a tokenizer.json: tiktoken's ranks, and GPT-2's encoder.json + vocab.bpe.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/tokenizer/strict_json.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "calm/text/tokenizer/tokenizer_json.hpp"

namespace calm::text {

/// The expression that cuts text for cl100k_base (openai/tiktoken, tiktoken_ext/openai_public.py); Llama 3 uses it too.
inline constexpr const char* cl100k_pattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|)"
    R"(\s++$|\s*[\r\n]|\s+(?!\S)|\s)";

/// What a file of ranks does not say.
struct TiktokenOptions {
  std::string pattern = cl100k_pattern;
  std::vector<std::pair<std::string, TokenId>> special{};  ///< tokens that are taken out of texts, with their numbers
};

namespace detail {

/// The lines of a file with their numbers from 1; the empty last one is not visited.
template <class Visit>
void for_each_line(std::string_view text, Visit&& visit) {
  for (std::size_t number = 1, begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(line, number);
    begin = end + 1;
  }
}

inline void add_special(std::string content, TokenId id, TokenizerParts& parts) {
  if (!parts.vocabulary.contains(id) || parts.vocabulary.piece(id).empty()) parts.vocabulary.set(id, content, false);
  AddedToken token{.id = id, .content = content, .special = true};
  parts.added.add(std::move(token), content);
}

inline Tokenizer byte_level(TokenizerParts parts, const std::string& pattern, const std::string& place) {
  parts.pre_tokenizers.push_back(pre_tokenizers::split(Regex(pattern, place), SplitBehavior::isolated, false));
  parts.decoder = Decoder({decoders::Bytes{}});
  return Tokenizer(std::move(parts));
}

}  // namespace detail

/// Reads tiktoken's file `path`: lines of a piece in base64 and its rank, which is its number too. Throws `Error` with
/// the line.
inline Tokenizer load_tiktoken(const std::string& path, const TiktokenOptions& options = {}) {
  const std::string text = detail::read_all(path);
  TokenizerParts parts;
  detail::for_each_line(text, [&](std::string_view line, std::size_t number) {
    if (line.empty()) return;
    const std::string place = path + ":" + std::to_string(number);
    const auto fail = [&](const std::string& what) { throw Error("calm::text: " + place + ": " + what); };
    const std::size_t blank = line.find(' ');
    TokenId id = no_token;
    const char* end = line.data() + line.size();
    if (blank == line.npos || std::from_chars(line.data() + blank + 1, end, id).ptr != end || id < 0)
      fail("expected a piece in base64, a blank and a rank, found " + detail::in_quotes(line));
    if (static_cast<std::size_t>(id) > number + 65'536)
      fail("expected ranks without holes, found " + std::to_string(id));
    std::string piece = detail::decode_base64(line.substr(0, blank), place);
    if (piece.empty() || (parts.vocabulary.contains(id) && !parts.vocabulary.piece(id).empty()))
      fail("expected a piece and a rank that stand once, found them again or none");
    parts.vocabulary.set(id, std::move(piece));
  });
  for (unsigned b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(static_cast<unsigned char>(b));
    calm::detail::require(parts.vocabulary.find({&byte, 1}) != no_token, [&] {
      return "calm::text: " + path + ": expected a rank for each of the 256 bytes, found none for byte " +
             std::to_string(b) + "; the file is cut off or no file of ranks";
    });
  }
  Bpe bpe(parts.vocabulary, {.bytes = true, .ignore_merges = true, .word_end = {}});
  for (std::size_t i = 0; i < parts.vocabulary.size(); ++i)
    bpe.add_cuts(parts.vocabulary, static_cast<TokenId>(i), static_cast<std::uint32_t>(i));
  parts.model = std::move(bpe);
  for (const auto& [content, id] : options.special) {
    calm::detail::require(id >= 0 && !content.empty(), [&] {
      return "calm::text: " + path + ": expected special tokens with a text and a number that is not negative";
    });
    detail::add_special(content, id, parts);
  }
  return detail::byte_level(std::move(parts), options.pattern, path);
}

/// Reads GPT-2's files: encoder.json (also called vocab.json) with the pieces and vocab.bpe (merges.txt) with the
/// merges. "<|endoftext|>" is special if it is there. Throws `Error` with the line or key.
inline Tokenizer load_gpt2_bpe(const std::string& encoder_path, const std::string& merges_path) {
  const nlohmann::json file = detail::read_json(encoder_path);
  TokenizerParts parts;
  detail::read_vocabulary(detail::JsonValue(file, encoder_path), true, parts.vocabulary);
  Bpe bpe(parts.vocabulary, {.bytes = true, .word_end = {}});
  std::size_t rank = 0;
  const std::string merges = detail::read_all(merges_path);
  calm::detail::require(find_invalid_utf8(merges) == merges.npos,
                        [&] { return "calm::text: " + merges_path + ": expected UTF-8, found an invalid byte"; });
  detail::for_each_line(merges, [&](std::string_view line, std::size_t number) {
    if (line.empty() || line.starts_with("#version")) return;
    const nlohmann::json value = std::string(line);
    const std::string place = merges_path + ":" + std::to_string(number);
    detail::add_merge(place, parts.vocabulary, true, detail::read_merge(detail::JsonValue(value, place)), rank++, bpe);
  });
  parts.model = std::move(bpe);
  const TokenId end = parts.vocabulary.find("<|endoftext|>");
  if (end != no_token) detail::add_special("<|endoftext|>", end, parts);
  return detail::byte_level(std::move(parts), pre_tokenizers::gpt2_pattern, merges_path);
}

}  // namespace calm::text
