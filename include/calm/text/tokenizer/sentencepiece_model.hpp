/// \file  SentencePiece's model file: what of sentencepiece_model.proto (github.com/google/sentencepiece) tokenizing
/// needs, read strictly.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/jsonl_line.hpp"
#include "calm/text/tokenizer/protobuf.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text::detail {

/// One piece.
struct SentencePieceEntry {
  enum Type : std::uint64_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  std::string piece{};
  float score = 0;
  std::uint64_t type = normal;
};

/// The file, defaults where it says nothing.
struct SentencePieceModel {
  enum Kind : std::uint64_t { unigram = 1, bpe = 2 };
  std::vector<SentencePieceEntry> pieces{};
  std::uint64_t kind = unigram;
  bool byte_fallback = false;
  std::string unknown_surface = " \xE2\x81\x87 ";
  TokenId unknown = no_token;
  std::string charsmap{};
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  std::string mark = "\xE2\x96\x81";  ///< U+2581, which stands for a blank in pieces
};

inline SentencePieceEntry read_sentencepiece_entry(ProtobufReader message) {
  SentencePieceEntry out;
  while (message.next()) {
    if (message.field() == 1) out.piece = message.data();
    else if (message.field() == 2) out.score = message.fixed_float();
    else if (message.field() == 3) out.type = message.number();
  }
  if (out.piece.empty()) message.fail("expected a piece, found an empty one");
  if (out.piece.find('\0') != std::string::npos) message.fail("expected a piece without zero bytes, found one");
  if (find_invalid_utf8(out.piece) != std::string::npos)
    message.fail("expected a piece of UTF-8, found " + in_quotes(out.piece));
  if (!std::isfinite(out.score)) message.fail("expected a finite score of " + in_quotes(out.piece) + ", found another");
  if (out.type < SentencePieceEntry::normal || out.type > SentencePieceEntry::byte)
    message.fail("expected a type from 1 to 6 of " + in_quotes(out.piece) + ", found " + std::to_string(out.type));
  return out;
}

inline void read_trainer_spec(ProtobufReader message, SentencePieceModel& out) {
  while (message.next()) {
    switch (message.field()) {
      case 3:
        out.kind = message.number();
        if (out.kind != SentencePieceModel::unigram && out.kind != SentencePieceModel::bpe)
          message.fail("expected a model of type 1 (unigram) or 2 (BPE), found " + std::to_string(out.kind) +
                       " (3 is word, 4 char)");
        break;
      case 24:
        if (message.number() != 0) message.fail("expected treat_whitespace_as_suffix false, found true");
        break;
      case 35: out.byte_fallback = message.number() != 0; break;
      case 44: out.unknown_surface = message.data(); break;
      default: break;
    }
  }
}

inline void read_normalizer_spec(ProtobufReader message, SentencePieceModel& out) {
  while (message.next()) {
    switch (message.field()) {
      case 2: out.charsmap = message.data(); break;
      case 3: out.add_dummy_prefix = message.number() != 0; break;
      case 4: out.remove_extra_whitespaces = message.number() != 0; break;
      case 5: out.escape_whitespaces = message.number() != 0; break;
      default: break;
    }
  }
}

/// Reads the bytes of the file `path`. Throws `Error` with the byte.
inline SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::string& path) {
  SentencePieceModel out;
  ProtobufReader message(bytes, path);
  while (message.next()) {
    switch (message.field()) {
      case 1: {
        out.pieces.push_back(read_sentencepiece_entry(message.message()));
        if (out.pieces.back().type != SentencePieceEntry::unknown) break;
        if (out.unknown != no_token) message.fail("expected one unknown piece, found two");
        out.unknown = static_cast<TokenId>(out.pieces.size()) - 1;
        break;
      }
      case 2: read_trainer_spec(message.message(), out); break;
      case 3: read_normalizer_spec(message.message(), out); break;
      case 5:
        for (auto spec = message.message(); spec.next();) {
          if (spec.field() == 2 && !spec.data().empty()) spec.fail("expected no rules of denormalisation, found some");
        }
        break;
      default: break;
    }
  }
  if (out.unknown == no_token) message.fail("expected an unknown piece, found none");
  return out;
}

}  // namespace calm::text::detail
