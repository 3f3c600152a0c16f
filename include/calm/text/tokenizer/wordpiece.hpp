/// \file  WordPiece as BERT applies it (Devlin et al., arXiv 1810.04805): the longest piece from the left, again and
/// again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "calm/text/tokenizer/trie.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// The model. Words must be valid UTF-8.
class WordPiece {
 public:
  /// Nothing to reuse; the other models have something.
  struct Scratch {};

  WordPiece() = default;
  /// `unknown` is what a word becomes that is longer than `longest` characters or cannot be cut into pieces; pieces
  /// that begin with `prefix` ("##") go on within a word.
  WordPiece(const Vocabulary& vocabulary, TokenId unknown, std::string_view prefix, std::size_t longest)
      : unknown_(unknown), longest_(longest) {
    for (std::size_t i = 0; i < vocabulary.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      const std::string_view piece = vocabulary.piece(id);
      if (piece.empty()) continue;
      first_.add(piece, id);
      if (piece.size() > prefix.size() && piece.starts_with(prefix)) later_.add(piece.substr(prefix.size()), id);
    }
  }

  /// Appends the tokens of `word` to `out`.
  void tokenize(const Vocabulary&, std::string_view word, Scratch&, std::vector<Piece>& out) const {
    const std::size_t first = out.size();
    const auto place = [](std::size_t i) { return static_cast<std::uint32_t>(i); };
    bool is_known = characters(word) <= longest_;
    for (std::size_t at = 0; is_known && at < word.size();) {
      const Trie::Match match = (at == 0 ? first_ : later_).longest(word, at);
      is_known = match.bytes > 0;
      out.push_back({match.value, place(at), place(at + match.bytes)});
      at += match.bytes;
    }
    if (is_known) return;
    out.resize(first);
    out.push_back({unknown_, 0, place(word.size())});
  }

 private:
  static std::size_t characters(std::string_view word) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < word.size(); i += code_point_at(word, i).bytes) ++count;
    return count;
  }

  TokenId unknown_ = no_token;
  std::size_t longest_ = 0;
  Trie first_, later_;
};

}  // namespace calm::text
