/// \file  Two tokenizers in one composition: the augment reads the text that the anchor's tokens spell.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/compose/retokenizer.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"

namespace calm {

/// What of the anchor's text the augment reads.
struct RetokenizerOptions {
  /// Whether the augment reads the anchor's special tokens as the text of their pieces. The augment's own, with which
  /// its template begins a text (BOS), stand there in any case.
  bool shows_special = false;
};

namespace detail {

/// The tokens of a text that grows, each time those that the tokenizer gives for all of it.
///
/// What is appended changes only tokens near the end, so not all is encoded again: from the beginning of a word before
/// the end on, and from one further back until the new tokens agree with the old over a stretch in which a word begins.
/// Where no piece reaches over words, or from something else to a blank, that is exact. Of words of more than `reach`
/// bytes (long texts without blanks, where the tokenizer knows no other words) the last part alone is encoded again:
/// the result may then differ from that of the whole text, but depends on nothing but the text and where it grew.
class GrowingEncoding {
 public:
  explicit GrowingEncoding(const text::Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  const std::string& text() const { return text_; }
  const std::vector<text::Token>& tokens() const { return tokens_; }

  /// Returns how many tokens stay.
  std::size_t append(std::string_view more) {
    const std::size_t before = text_.size();
    text_ += more;
    if (more.empty() && !tokens_.empty()) return tokens_.size();
    for (std::size_t window = first_window; window < before && !tokens_.empty(); window *= 4) {
      const std::size_t from = last_at(before - window);
      if (tokens_[from].begin == 0) break;
      auto tail = encoded(tokens_[from].begin);
      if (!tail.empty()) tail.front().begins_word = tokens_[from].begins_word;
      const auto [old, fresh] = agreement(from, tail, before);
      if (old > 0) return replace(old, std::span(tail).subspan(fresh));
    }
    std::vector<text::Token> all;
    for (const text::TokenId id : tokenizer_->opening()) all.push_back({id, 0, 0});
    const auto rest = encoded(0);
    all.insert(all.end(), rest.begin(), rest.end());
    return replace(0, all);
  }

 private:
  // In bytes: how far before the end encoding begins first; how much further back a word may begin; over how much the
  // old and the new tokens must agree, and how long before the old end.
  static constexpr std::size_t first_window = 96, reach = 1024, stretch = 16, margin = 24;

  /// Whether what comes later leaves alone what stands before `t`: a word begins, or a blank behind something else.
  bool begins_word(const text::Token& t) const {
    return t.begins_word || (t.begin > 0 && text_[t.begin] == ' ' && text_[t.begin - 1] != ' ');
  }

  /// The last token at or before `byte` that begins a word; if there is none within `reach`, a character.
  std::size_t last_at(std::size_t byte) const {
    const auto behind =
        std::partition_point(tokens_.begin(), tokens_.end(), [&](const text::Token& t) { return t.begin <= byte; });
    auto at = static_cast<std::size_t>(behind - tokens_.begin());
    while (at > 0 && (static_cast<unsigned char>(text_[tokens_[--at].begin]) & 0xC0) == 0x80) continue;
    for (std::size_t word = at; tokens_[word].begin + reach > byte; --word) {
      if (word == 0 || begins_word(tokens_[word])) return word;
    }
    return at;
  }
  std::vector<text::Token> encoded(std::size_t from) const {
    auto tokens = tokenizer_->encode(std::string_view(text_).substr(from), text::Template::leave);
    for (text::Token& t : tokens) t.begin += from, t.end += from;
    return tokens;
  }

  /// The first pair of an old token and a new one behind which both go on alike for `stretch` bytes, well before the
  /// old end; of tokens that begin a word, if that at `from` does. {0, 0} if there is none.
  std::pair<std::size_t, std::size_t> agreement(std::size_t from, const std::vector<text::Token>& tail,
                                                std::size_t end) const {
    const bool has_words = begins_word(tokens_[from]);
    std::size_t old = from, fresh = 0;
    while (old < tokens_.size() && fresh < tail.size()) {
      if (tokens_[old].begin != tail[fresh].begin) {
        ++(tokens_[old].begin < tail[fresh].begin ? old : fresh);
        continue;
      }
      std::size_t n = 0;
      while (old + n < tokens_.size() && fresh + n < tail.size() && same(tokens_[old + n], tail[fresh + n])) ++n;
      for (std::size_t k = 0; k < n; ++k) {
        if (has_words && !(begins_word(tokens_[old + k]) && begins_word(tail[fresh + k]))) continue;
        const std::size_t least = tokens_[old + k].begin + stretch;
        if (tokens_[old + n - 1].end >= least && least + margin <= end) return {old + k, fresh + k};
        break;
      }
      old += n + (n == 0), fresh += n + (n == 0);
    }
    return {0, 0};
  }
  static bool same(const text::Token& a, const text::Token& b) {
    return a.id == b.id && a.begin == b.begin && a.end == b.end;
  }

  std::size_t replace(std::size_t from, std::span<const text::Token> fresh) {
    std::size_t same_ids = 0;
    const std::size_t both = std::min(fresh.size(), tokens_.size() - from);
    while (same_ids < both && tokens_[from + same_ids].id == fresh[same_ids].id) ++same_ids;
    tokens_.resize(from);
    tokens_.insert(tokens_.end(), fresh.begin(), fresh.end());
    return from + same_ids;
  }

  const text::Tokenizer* tokenizer_;
  std::string text_;
  std::vector<text::Token> tokens_;
};

/// A text of the anchor, followed by the augment.
class TokenizedTwice final : public RetokenizedText {
 public:
  TokenizedTwice(std::shared_ptr<const text::Tokenizer> anchor, std::shared_ptr<const text::Tokenizer> augment,
                 bool shows_special)
      : anchor_(std::move(anchor)), augment_(std::move(augment)), spelled_(anchor_->stream(shows_special)),
        read_(*augment_) {}

  std::vector<Index> begin(std::span<const Index> prompt) override {
    std::string text;
    std::vector<std::size_t> ends;
    for (const Index token : prompt) {
      text += spelled_.push(token);
      ends.push_back(text.size());
    }
    read_.append(text);
    take(0);
    std::vector<Index> seen;
    std::size_t n = 0;
    for (const std::size_t end : ends) {
      while (n < tokens_.size() && read_.tokens()[n].end <= end) ++n;
      seen.push_back(static_cast<Index>(n));
    }
    return seen;
  }
  std::size_t push(Index token) override {
    const std::size_t kept = read_.append(spelled_.push(token));
    take(kept);
    return kept;
  }
  std::unique_ptr<RetokenizedText> clone() const override { return std::make_unique<TokenizedTwice>(*this); }

 private:
  void take(std::size_t kept) {
    tokens_.resize(kept);
    for (std::size_t i = kept; i < read_.tokens().size(); ++i) tokens_.push_back(read_.tokens()[i].id);
  }

  std::shared_ptr<const text::Tokenizer> anchor_, augment_;
  text::TokenStream spelled_;
  GrowingEncoding read_;
};

class TwoTokenizers final : public Retokenizer {
 public:
  TwoTokenizers(std::shared_ptr<const text::Tokenizer> anchor, std::shared_ptr<const text::Tokenizer> augment,
                bool shows_special)
      : anchor_(std::move(anchor)), augment_(std::move(augment)), shows_special_(shows_special) {}
  std::unique_ptr<RetokenizedText> text() const override {
    return std::make_unique<TokenizedTwice>(anchor_, augment_, shows_special_);
  }

 private:
  std::shared_ptr<const text::Tokenizer> anchor_, augment_;
  bool shows_special_;
};

}  // namespace detail

/// How an augment of tokenizer `augment` follows an anchor of tokenizer `anchor` (calm::Retokenized). The text is what
/// `anchor` decodes the tokens to, whole characters only, without special tokens unless the options say otherwise; the
/// augment reads it as `augment` encodes it, behind what its template puts before a text.
inline std::shared_ptr<const Retokenizer> retokenizer(std::shared_ptr<const text::Tokenizer> anchor,
                                                      std::shared_ptr<const text::Tokenizer> augment,
                                                      const RetokenizerOptions& options = {}) {
  return std::make_shared<detail::TwoTokenizers>(std::move(anchor), std::move(augment), options.shows_special);
}
inline std::shared_ptr<const Retokenizer> retokenizer(text::Tokenizer anchor, text::Tokenizer augment,
                                                      const RetokenizerOptions& options = {}) {
  return retokenizer(std::make_shared<const text::Tokenizer>(std::move(anchor)),
                     std::make_shared<const text::Tokenizer>(std::move(augment)), options);
}

}  // namespace calm
