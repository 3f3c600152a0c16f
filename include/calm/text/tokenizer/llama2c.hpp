/// \file  The tokenizer files of karpathy/llama2.c (tokenizer.bin, tok512.bin).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "calm/text/tokenizer/sentencepiece.hpp"

namespace calm::text {

namespace detail {

/// The file `path` as the SentencePiece model that it was made from. Throws `Error` with the byte.
inline SentencePieceModel read_llama2c(const std::string& path) {
  const std::string bytes = read_all(path);
  std::size_t at = 0;
  const auto fail = [&](const std::string& what) {
    throw Error("calm::text: " + path + ": at byte " + std::to_string(at) + ": " + what +
                "; the file is damaged or is no tokenizer of llama2.c");
  };
  const auto read = [&](auto& value) {
    if (bytes.size() - at < sizeof value)
      fail("expected " + std::to_string(sizeof value) + " bytes, found " + std::to_string(bytes.size() - at));
    std::memcpy(&value, bytes.data() + at, sizeof value);
    at += sizeof value;
  };
  std::int32_t longest = 0;
  read(longest);
  SentencePieceModel model{.kind = SentencePieceModel::bpe,
                           .byte_fallback = true,
                           .unknown = 0,
                           .remove_extra_whitespaces = false,
                           .escape_whitespaces = false,
                           .mark = " "};
  while (at < bytes.size()) {
    SentencePieceEntry entry;
    std::int32_t length = 0;
    read(entry.score);
    read(length);
    if (length < 0 || length > longest || static_cast<std::size_t>(length) > bytes.size() - at)
      fail("expected a piece of at most " + std::to_string(longest) + " bytes within the file, found one of " +
           std::to_string(length));
    const std::string_view piece = std::string_view(bytes).substr(at, static_cast<std::size_t>(length));
    if (!std::isfinite(entry.score) || find_invalid_utf8(piece) != piece.npos)
      fail("expected a finite score and a piece of UTF-8, found others");
    at += piece.size();
    const std::size_t i = model.pieces.size();
    entry.piece = piece;
    entry.type = i == 0 ? SentencePieceEntry::unknown
                 : i < 3 ? SentencePieceEntry::control
                 : i < 259 ? SentencePieceEntry::byte
                           : SentencePieceEntry::normal;
    model.pieces.push_back(std::move(entry));
  }
  if (model.pieces.size() < 259)
    fail("expected at least 259 pieces, found " + std::to_string(model.pieces.size()));
  return model;
}

}  // namespace detail

/// Reads the file `path`: the longest piece's length, then for each piece its score (fp32), its length and its bytes,
/// all in 32 bits, little endian. It is a SentencePiece BPE model with blanks in the place of marks, byte pieces from 3
/// to 258, and a blank put in front of every text. `encode` adds no BOS (1). Throws `Error` with the byte.
inline Tokenizer load_llama2c(const std::string& path) {
  return detail::make_sentencepiece(detail::read_llama2c(path), path);
}

}  // namespace calm::text
