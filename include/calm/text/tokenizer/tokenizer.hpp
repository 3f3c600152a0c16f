/// \file  A tokenizer: text to numbered tokens and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/tokenizer/added_tokens.hpp"
#include "calm/text/tokenizer/aligned.hpp"
#include "calm/text/tokenizer/bpe.hpp"
#include "calm/text/tokenizer/decoder.hpp"
#include "calm/text/tokenizer/normalizer.hpp"
#include "calm/text/tokenizer/pre_tokenizer.hpp"
#include "calm/text/tokenizer/unigram.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"
#include "calm/text/tokenizer/wordpiece.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// A token of a text and the bytes of the text that it stands for. Tokens that a template adds stand for none, at the
/// place where they are added. Where normalisation joined characters, tokens of one overlap.
struct Token {
  TokenId id = no_token;
  std::size_t begin = 0, end = 0;
  bool begins_word = false;  ///< the first of what the model cuts into tokens at once, or cut out before
};

/// What a tokenizer is made of, in the order in which a text passes through it.
struct TokenizerParts {
  Vocabulary vocabulary;
  AddedTokens added;
  std::vector<Normalizer> normalizers;
  std::vector<PreTokenizer> pre_tokenizers;
  std::variant<Bpe, Unigram<double>, Unigram<float>, WordPiece> model;
  std::vector<TokenId> before, after;  ///< what the template puts around a text (BOS, EOS)
  Decoder decoder;
  bool takes_bytes = false;  ///< texts need not be UTF-8
};

/// Whether `encode` adds the tokens that the tokenizer's template puts around a text.
enum class Template { apply, leave };

class TokenStream;

/// The tokenizer. Nothing of it changes, so threads may share it.
class Tokenizer {
 public:
  explicit Tokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}

  /// Tokens that the vocabulary counts; every id is below.
  std::size_t size() const { return parts_.vocabulary.size(); }
  /// The piece of a token: raw bytes where the tokenizer works on bytes. Throws `Error` for an id that is none.
  const std::string& piece(TokenId id) const {
    require_id(id);
    return parts_.vocabulary.piece(id);
  }
  /// The token whose piece is `piece`, special ones included; `no_token` if there is none.
  TokenId find(std::string_view piece) const {
    const TokenId id = parts_.vocabulary.find(piece);
    if (id != no_token) return id;
    for (std::size_t i = 0; i < size(); ++i) {
      if (parts_.vocabulary.piece(static_cast<TokenId>(i)) == piece) return static_cast<TokenId>(i);
    }
    return no_token;
  }
  /// Whether decoding leaves the token out (BOS, EOS, padding).
  bool is_special(TokenId id) const { return parts_.added.is_special(id); }

  /// What the tokenizer's template puts before a text (BOS).
  std::span<const TokenId> opening() const { return parts_.before; }

  /// The tokens of `text`. Throws `Error` if it is not UTF-8 (unless the tokenizer takes bytes) or has 4 GiB or more.
  std::vector<Token> encode(std::string_view text, Template use = Template::apply) const {
    check(text);
    std::vector<Token> out;
    const bool adds = use == Template::apply;
    if (adds) for (const TokenId id : parts_.before) out.push_back({id, 0, 0});
    parts_.added.for_each_part(text, false, [&](std::size_t begin, std::size_t end, TokenId id) {
      if (id != no_token) out.push_back({id, begin, end, true});
      else encode_part(Aligned(text.substr(begin, end - begin), static_cast<std::uint32_t>(begin)), out);
    });
    if (adds) for (const TokenId id : parts_.after) out.push_back({id, text.size(), text.size()});
    return out;
  }
  /// The same without their places.
  std::vector<TokenId> ids(std::string_view text, Template use = Template::apply) const {
    std::vector<TokenId> out;
    for (const Token& token : encode(text, use)) out.push_back(token.id);
    return out;
  }

  /// The text of `ids`, valid UTF-8; special tokens are left out unless `shows_special`. Throws `Error` for an id that
  /// is none.
  std::string decode(std::span<const TokenId> ids, bool shows_special = false) const;

  /// Decodes one text token by token.
  TokenStream stream(bool shows_special = false) const;

 private:
  friend class TokenStream;

  void check(std::string_view text) const {
    calm::detail::require(text.size() < std::numeric_limits<std::uint32_t>::max(), [&] {
      return "calm::text::Tokenizer: expected a text of less than 4 GiB, found " + std::to_string(text.size()) +
             " bytes; encode it in parts";
    });
    if (parts_.takes_bytes) return;
    const std::size_t invalid = find_invalid_utf8(text);
    calm::detail::require(invalid == text.npos, [&] {
      return "calm::text::Tokenizer: expected UTF-8, found an invalid byte at " + std::to_string(invalid) + " of " +
             std::to_string(text.size()) + "; calm::text::repair_utf8 replaces what is invalid by U+FFFD";
    });
  }

  void require_id(TokenId id) const {
    calm::detail::require(parts_.vocabulary.contains(id), [&] {
      return "calm::text::Tokenizer: expected an id from 0 to " + std::to_string(size() - 1) + ", found " +
             std::to_string(id) + "; the model and the tokenizer do not belong together";
    });
  }

  void encode_part(Aligned text, std::vector<Token>& out) const {
    for (const Normalizer& normalizer : parts_.normalizers) text = normalizer(std::move(text));
    parts_.added.for_each_part(text.text(), true, [&](std::size_t begin, std::size_t end, TokenId id) {
      if (id == no_token) return encode_words(text.part(begin, end), out);
      const Span span = text.span(begin, end);
      out.push_back({id, span.begin, span.end, true});
    });
  }

  void encode_words(Aligned text, std::vector<Token>& out) const {
    Words words(std::move(text));
    for (const PreTokenizer& pre_tokenizer : parts_.pre_tokenizers) pre_tokenizer(words);
    std::visit([&](const auto& model) { encode_words(model, words, out); }, parts_.model);
  }

  /// Words come again and again, so each is tokenized once per call.
  template <class Model>
  void encode_words(const Model& model, const Words& words, std::vector<Token>& out) const {
    typename Model::Scratch scratch;
    std::vector<Piece> pieces;
    std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>> known;
    for (const Words::Range& range : words.ranges) {
      const auto [place, is_new] = known.try_emplace(words.word(range));
      if (is_new) {
        const std::size_t first = pieces.size();
        model.tokenize(parts_.vocabulary, place->first, scratch, pieces);
        place->second = {first, pieces.size()};
      }
      const auto [first, last] = place->second;
      for (std::size_t i = first; i < last; ++i) {
        const Span span = words.text.span(range.begin + pieces[i].begin, range.begin + pieces[i].end);
        out.push_back({pieces[i].id, span.begin, span.end, i == first});
      }
    }
  }

  TokenizerParts parts_;
};

/// One text being decoded. What it hands out, put together, is what `Tokenizer::decode` gives for the same ids, and
/// each part ends behind a character. The tokenizer must outlive it.
class TokenStream {
 public:
  /// The text that is certain with one token more; often nothing. Throws `Error` for an id that is none.
  std::string push(TokenId id) {
    std::string out;
    tokenizer_->require_id(id);
    if (!shows_special_ && tokenizer_->is_special(id)) return out;
    decoder_.push(id, tokenizer_->parts_.vocabulary.piece(id), out);
    return out;
  }
  /// What is left; call once, behind the last token.
  std::string finish() {
    std::string out;
    decoder_.finish(out);
    return out;
  }

 private:
  friend class Tokenizer;
  TokenStream(const Tokenizer& tokenizer, bool shows_special)
      : tokenizer_(&tokenizer), decoder_(tokenizer.parts_.decoder), shows_special_(shows_special) {}

  const Tokenizer* tokenizer_;
  Decoder decoder_;
  bool shows_special_;
};

inline TokenStream Tokenizer::stream(bool shows_special) const { return TokenStream(*this, shows_special); }

inline std::string Tokenizer::decode(std::span<const TokenId> ids, bool shows_special) const {
  TokenStream text = stream(shows_special);
  std::string out;
  for (const TokenId id : ids) out += text.push(id);
  return out += text.finish();
}

}  // namespace calm::text
