/// \file  Two toy tokenizers over the letters a, b, c, and how one follows the other.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calm/compose/retokenizer.hpp"

namespace calm::test {

/// What the anchor's 16 tokens say. One says nothing, as special tokens do.
inline constexpr std::array<std::string_view, 16> toy_pieces{"",   "a",  "b",  "c",   "ab",  "ba",  "ca",   "cb",
                                                             "aa", "cc", "bc", "abc", "cab", "bbb", "acca", "ab"};

struct ToyToken {
  Index id;
  std::size_t end;
};

/// The augment reads the longest pieces it knows, from left to right, behind a token that begins the text: so what
/// comes next may change the last token or, where it was many short ones, several.
inline std::vector<ToyToken> toy_tokens(std::string_view text) {
  static constexpr std::array<std::string_view, 8> pieces{"abcab", "bbaac", "cca", "ab", "ca", "a", "b", "c"};
  std::vector<ToyToken> out{{15, 0}};
  for (std::size_t at = 0; at < text.size();) {
    const auto found =
        std::find_if(pieces.begin(), pieces.end(), [&](auto p) { return text.substr(at).starts_with(p); });
    at += found->size();
    out.push_back({static_cast<Index>(found - pieces.begin()), at});
  }
  return out;
}

class ToyText final : public RetokenizedText {
 public:
  std::vector<Index> begin(std::span<const Index> prompt) override {
    std::vector<std::size_t> ends;
    for (const Index token : prompt) {
      text_ += toy_pieces[static_cast<std::size_t>(token)];
      ends.push_back(text_.size());
    }
    const auto read = reread();
    std::vector<Index> seen;
    for (const std::size_t end : ends) {
      seen.push_back(static_cast<Index>(std::count_if(read.begin(), read.end(), [&](auto t) { return t.end <= end; })));
    }
    return seen;
  }
  std::size_t push(Index token) override {
    const std::vector<Index> before = tokens_;
    text_ += toy_pieces[static_cast<std::size_t>(token)];
    reread();
    const auto changed = std::mismatch(before.begin(), before.end(), tokens_.begin(), tokens_.end()).first;
    return static_cast<std::size_t>(changed - before.begin());
  }
  std::unique_ptr<RetokenizedText> clone() const override { return std::make_unique<ToyText>(*this); }

 private:
  std::vector<ToyToken> reread() {
    const auto read = toy_tokens(text_);
    tokens_.clear();
    for (const ToyToken& t : read) tokens_.push_back(t.id);
    return read;
  }

  std::string text_;
};

struct ToyRetokenizer final : Retokenizer {
  std::unique_ptr<RetokenizedText> text() const override { return std::make_unique<ToyText>(); }
};

}  // namespace calm::test
