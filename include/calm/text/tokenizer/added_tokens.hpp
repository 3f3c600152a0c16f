/// \file  Tokens that are taken out of a text before anything else is done to it, such as "<|endoftext|>".
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "calm/text/tokenizer/normalizer.hpp"
#include "calm/text/tokenizer/trie.hpp"
#include "calm/text/tokenizer/unicode.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"

namespace calm::text {

/// One such token, by the words of tokenizer.json.
struct AddedToken {
  TokenId id = no_token;
  std::string content;
  bool single_word = false;  ///< only where no word goes on at either end
  bool lstrip = false;       ///< takes the white space in front of it along
  bool rstrip = false;       ///< takes the white space behind it along
  bool normalized = false;   ///< is looked for in the normalised text, else in the original
  bool special = false;      ///< not shown when decoding
};

/// All of them. Where several stand at one place, the longest is taken.
class AddedTokens {
 public:
  /// `content` is what is looked for: the token's own, normalised if it is looked for in normalised text.
  void add(AddedToken token, std::string_view content) {
    if (!content.empty()) (token.normalized ? normalised_ : original_).add(content, token.id);
    tokens_.insert_or_assign(token.id, std::move(token));
  }

  const AddedToken* find(TokenId id) const {
    const auto it = tokens_.find(id);
    return it == tokens_.end() ? nullptr : &it->second;
  }
  bool is_special(TokenId id) const {
    const AddedToken* token = find(id);
    return token && token->special;
  }

  /// Calls visit(begin, end, id) for the parts of `text` from left to right; the id is `no_token` for what lies between
  /// tokens. `is_normalised` says which tokens to look for.
  template <class Visit>
  void for_each_part(std::string_view text, bool is_normalised, Visit&& visit) const {
    const Trie& trie = is_normalised ? normalised_ : original_;
    std::size_t done = 0;
    for (std::size_t i = trie.empty() ? text.size() : 0; i < text.size();) {
      const Trie::Match match = trie.longest(text, i);
      if (match.bytes == 0) {
        ++i;
        continue;
      }
      std::size_t begin = i, end = i + match.bytes;
      i = end;
      const AddedToken& token = tokens_.at(match.value);
      if (token.single_word && touches_word(text, begin, end)) continue;
      if (token.lstrip) begin = std::max(space_before(text, begin), done);
      if (token.rstrip) end = space_behind(text, end);
      if (done < begin) visit(done, begin, no_token);
      visit(begin, end, token.id);
      done = end;
    }
    if (done < text.size()) visit(done, text.size(), no_token);
  }

 private:
  /// The character that ends at byte `end`.
  static CodePoint last(std::string_view text, std::size_t end) {
    std::size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    return code_point_at(text, begin);
  }
  static bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
    return (begin > 0 && detail::is_word(last(text, begin).value)) ||
           (end < text.size() && detail::is_word(code_point_at(text, end).value));
  }
  static std::size_t space_before(std::string_view text, std::size_t begin) {
    while (begin > 0) {
      const CodePoint c = last(text, begin);
      if (!detail::is_white_space(c.value)) break;
      begin -= c.bytes;
    }
    return begin;
  }
  static std::size_t space_behind(std::string_view text, std::size_t end) {
    while (end < text.size()) {
      const CodePoint c = code_point_at(text, end);
      if (!detail::is_white_space(c.value)) break;
      end += c.bytes;
    }
    return end;
  }

  Trie original_, normalised_;
  std::unordered_map<TokenId, AddedToken> tokens_;
};

}  // namespace calm::text
