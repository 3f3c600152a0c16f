/// \file  SentencePiece tokenizers (Kudo and Richardson, arXiv 1808.06226): tokenizer.model, of type BPE or unigram.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/tokenizer/charsmap.hpp"
#include "calm/text/tokenizer/sentencepiece_model.hpp"
#include "calm/text/tokenizer/strict_json.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"

namespace calm::text {

namespace detail {

/// SentencePiece's normalisation: rules, blanks at the ends and runs of them removed, a blank in front, marks for
/// blanks. User-defined symbols are left as they are. Bytes that are not UTF-8 become U+FFFD each.
class SentencePieceNormalizer {
 public:
  SentencePieceNormalizer(const SentencePieceModel& model, const std::string& path)
      : adds_prefix_(model.add_dummy_prefix),
        trims_(model.remove_extra_whitespaces),
        space_(model.escape_whitespaces ? model.mark : " ") {
    if (!model.charsmap.empty()) rules_ = Charsmap(model.charsmap, path);
    for (std::size_t i = 0; i < model.pieces.size(); ++i) {
      if (model.pieces[i].type == SentencePieceEntry::user_defined)
        symbols_.add(model.pieces[i].piece, static_cast<TokenId>(i));
    }
  }

  Aligned operator()(const Aligned& aligned) const {
    const std::string_view text = aligned.text();
    Aligned out = aligned.successor();
    std::size_t i = 0;
    while (trims_ && i < text.size()) {
      const auto [now, bytes] = at(text, i);
      if (now != " ") break;
      i += bytes;
    }
    if (i == text.size()) return out;
    if (adds_prefix_) out.append(space_, aligned.span(i, i));
    for (bool behind_space = trims_; i < text.size();) {
      auto [now, bytes] = at(text, i);
      const Span from = aligned.span(i, i + bytes);
      while (behind_space && now.starts_with(' ')) now.remove_prefix(1);
      if (now == text.substr(i, bytes) && now != " ") out.append(aligned, i, i + bytes);
      else for (const char& c : now) out.append(c == ' ' ? std::string_view(space_) : std::string_view(&c, 1), from);
      if (!now.empty()) behind_space = trims_ && now.ends_with(' ');
      i += bytes;
    }
    while (trims_ && out.text().ends_with(space_)) out.truncate(out.text().size() - space_.size());
    return out;
  }

 private:
  /// What stands in the place of the beginning of the rest, and the bytes that it replaces.
  std::pair<std::string_view, std::size_t> at(std::string_view text, std::size_t i) const {
    if (!symbols_.empty()) {
      const auto match = symbols_.longest(text, i);
      if (match.bytes > 0) return {text.substr(i, match.bytes), match.bytes};
    }
    if (const auto rule = rules_.longest(text.substr(i)); rule.bytes > 0) return {rule.replacement, rule.bytes};
    const CodePoint c = code_point_at(text, i);
    if (c.valid) return {text.substr(i, c.bytes), c.bytes};
    return {replacement_character, 1};
  }

  Charsmap rules_;
  Trie symbols_;
  bool adds_prefix_, trims_;
  std::string space_;
};

/// BPE: any two pieces that make a piece merge, that of the best score first.
inline Bpe sentencepiece_bpe(const SentencePieceModel& model, const Vocabulary& vocabulary, const std::string& path) {
  Bpe bpe(vocabulary, {.byte_fallback = model.byte_fallback,
                       .fuse_unknown = true,
                       .unknown = model.unknown,
                       .word_end = {}});
  std::vector<float> scores;
  for (const auto& entry : model.pieces) scores.push_back(entry.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& [piece, score, type] = model.pieces[i];
    const auto id = static_cast<TokenId>(i);
    if (type == SentencePieceEntry::unused)
      throw Error("calm::text: " + path + ": piece " + in_quotes(piece) + ": BPE with unused pieces is not supported");
    if (type == SentencePieceEntry::user_defined) bpe.add_fixed(piece, id);
    if (type != SentencePieceEntry::normal && type != SentencePieceEntry::user_defined) continue;
    for (std::size_t k = 0; k < piece.size();) {
      const std::size_t bytes = code_point_at(piece, k).bytes;
      const std::string_view character = std::string_view(piece).substr(k, bytes);
      calm::detail::require(type == SentencePieceEntry::user_defined || vocabulary.find(character) != no_token, [&] {
        return "calm::text: " + path + ": piece " + in_quotes(piece) + ": expected its character " +
               in_quotes(character) + " as a piece, found none";
      });
      k += bytes;
    }
    const auto rank = std::lower_bound(scores.begin(), scores.end(), score, std::greater<>()) - scores.begin();
    bpe.add_cuts(vocabulary, id, static_cast<std::uint32_t>(rank));
  }
  return bpe;
}

inline Unigram<float> sentencepiece_unigram(const SentencePieceModel& model, const Vocabulary& vocabulary) {
  Unigram<float> unigram(vocabulary, model.unknown, model.byte_fallback);
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& [piece, score, type] = model.pieces[i];
    const auto id = static_cast<TokenId>(i);
    if (type == SentencePieceEntry::normal) unigram.add(piece, id, score);
    if (type == SentencePieceEntry::user_defined) unigram.add_fixed(piece, id);
  }
  return unigram;
}

inline Tokenizer make_sentencepiece(const SentencePieceModel& model, const std::string& path) {
  TokenizerParts parts;
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& [piece, score, type] = model.pieces[i];
    const bool in_texts = type == SentencePieceEntry::normal || type == SentencePieceEntry::user_defined;
    const auto fail = [&path, &name = piece](const char* what) {
      throw Error("calm::text: " + path + ": piece " + in_quotes(name) + what);
    };
    if (in_texts && parts.vocabulary.find(piece) != no_token) fail(" stands twice");
    if (type == SentencePieceEntry::byte && Vocabulary::byte_of(piece) < 0) fail(": expected <0x00> to <0xFF>");
    const auto id = static_cast<TokenId>(i);
    parts.vocabulary.set(id, piece, in_texts);
    if (type == SentencePieceEntry::control) parts.added.add({.id = id, .content = piece, .special = true}, "");
  }
  if (model.byte_fallback) {
    for (const TokenId id : parts.vocabulary.byte_pieces()) {
      calm::detail::require(id != no_token, [&] {
        return "calm::text: " + path + ": expected the pieces <0x00> to <0xFF>, as byte_fallback is set, found fewer";
      });
    }
  }
  if (model.kind == SentencePieceModel::bpe) parts.model = sentencepiece_bpe(model, parts.vocabulary, path);
  else parts.model = sentencepiece_unigram(model, parts.vocabulary);
  // Shared, as steps are copied with the tokenizer.
  parts.normalizers.push_back([n = std::make_shared<const SentencePieceNormalizer>(model, path)](const Aligned& text) {
    return (*n)(text);
  });
  parts.decoder = Decoder({decoders::SentencePiece{.mark = model.mark,
                                                   .strips_one = model.add_dummy_prefix,
                                                   .strips_all = model.remove_extra_whitespaces,
                                                   .unknown = model.unknown,
                                                   .unknown_surface = model.unknown_surface}});
  parts.takes_bytes = true;
  return Tokenizer(std::move(parts));
}

}  // namespace detail

/// Reads SentencePiece's file `path`. Texts may hold any bytes. Control pieces ("<s>") are special; `encode` adds none,
/// as SentencePiece does. Throws `Error` with the byte where something is damaged or not supported.
///
/// A unigram model sums the scores of the whole text in fp32, so on texts beyond some 80 kB in one call, where the sums
/// leave no bits for small differences, one or two words of a thousand are cut otherwise than by SentencePiece 0.2.3;
/// encode long texts line by line.
inline Tokenizer load_sentencepiece(const std::string& path) {
  return detail::make_sentencepiece(detail::read_sentencepiece_model(detail::read_all(path), path), path);
}

}  // namespace calm::text
