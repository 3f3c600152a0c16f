/// \file  From tokens back to text, one token after the other: the steps of tokenizer.json's "decoder" and that of
/// SentencePiece.
///
/// A step takes strings and passes strings on, keeping what it cannot decide yet. So a text that is decoded as it is
/// generated is the same, to the byte, as one that is decoded at the end, and never ends inside of a character.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "calm/text/tokenizer/normalizer.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

namespace detail {

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

/// Moves what is complete from `bytes` to the end of `out`: characters, and U+FFFD for what can be none; with
/// `by_byte` one for each byte of it, else for each maximal subpart. A character's beginning stays unless it `is_last`.
inline void take_characters(std::string& bytes, std::string& out, bool by_byte, bool is_last) {
  std::size_t i = 0;
  while (i < bytes.size()) {
    const CodePoint c = code_point_at(bytes, i);
    // Only a subpart that reaches the end may still become a character.
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const bool is_open = !c.valid && i + c.bytes == bytes.size() && lead >= 0xC2 && lead <= 0xF4;
    if (is_open && !is_last) break;
    const std::size_t n = c.valid || !by_byte ? c.bytes : 1;
    out += c.valid ? std::string_view(bytes).substr(i, n) : replacement_character;
    i += n;
  }
  bytes.erase(0, i);
}

inline std::string replaced(const std::string& text, std::string_view pattern, std::string_view content) {
  std::string out;
  std::size_t done = 0;
  find_string(text, pattern, [&](std::size_t begin, std::size_t end) {
    out.append(text, done, begin - done);
    out += content;
    done = end;
  });
  return out.append(text, done);
}

}  // namespace detail

/// The steps. Each has `push(id, text, next)` and `finish(next)`, where next(id, text) takes what it passes on.
namespace decoders {

/// Pieces are bytes; what is no UTF-8 becomes U+FFFD.
struct Bytes {
  std::string pending{};
  void push(TokenId id, std::string text, auto&& next) {
    pending += text;
    pass(id, false, next);
  }
  void finish(auto&& next) { pass(no_token, true, next); }
  void pass(TokenId id, bool is_last, auto&& next) {
    std::string out;
    detail::take_characters(pending, out, false, is_last);
    if (!out.empty()) next(id, std::move(out));
  }
};

/// A string for another, in each token.
struct Replace {
  std::string pattern, content;
  void push(TokenId id, std::string text, auto&& next) { next(id, detail::replaced(text, pattern, content)); }
  void finish(auto&&) {}
};

/// Runs of "<0x..>" become their bytes. A run that is not UTF-8 as a whole becomes U+FFFD for each of its bytes, so it
/// is kept until it ends.
struct ByteFallback {
  std::string run{};
  void push(TokenId id, std::string text, auto&& next) {
    const int byte = Vocabulary::byte_of(text);
    if (byte >= 0) {
      run += static_cast<char>(static_cast<unsigned char>(byte));
      return;
    }
    finish(next);
    next(id, std::move(text));
  }
  void finish(auto&& next) {
    if (run.empty()) return;
    std::string out;
    if (find_invalid_utf8(run) == run.npos) out = run;
    else for (std::size_t i = 0; i < run.size(); ++i) out += detail::replacement_character;
    run.clear();
    next(no_token, std::move(out));
  }
};

/// Without up to `start` times `content` at the beginning: of the whole text, or `each` token.
struct Strip {
  std::string content;
  std::size_t start = 0;
  bool each = false;
  std::size_t left = start;
  void push(TokenId id, std::string text, auto&& next) {
    std::size_t i = 0;
    std::size_t& budget = left;
    if (each) budget = start;
    while (budget > 0 && i < text.size()) {
      if (!std::string_view(text).substr(i).starts_with(content)) {
        budget = 0;
        break;
      }
      i += content.size();
      --budget;
    }
    next(id, text.substr(i));
  }
  void finish(auto&&) {}
};

/// Marks become blanks; the first token loses its marks if `drops_first`.
struct Metaspace {
  std::string mark;
  bool drops_first = true;
  bool is_first = true;
  void push(TokenId id, std::string text, auto&& next) {
    const bool drops = std::exchange(is_first, false) && drops_first;
    next(id, detail::replaced(text, mark, drops ? "" : " "));
  }
  void finish(auto&&) {}
};

/// `suffix` becomes a blank; in the last token, which is kept until there is another, nothing.
struct WordEnd {
  std::string suffix;
  std::string last{};
  bool is_first = true;
  void push(TokenId id, std::string text, auto&& next) {
    if (!std::exchange(is_first, false)) next(id, detail::replaced(last, suffix, " "));
    last = std::move(text);
  }
  void finish(auto&& next) {
    if (!is_first) next(no_token, detail::replaced(last, suffix, ""));
  }
};

/// Tokens with a blank between them.
struct Join {
  bool is_first = true;
  void push(TokenId id, std::string text, auto&& next) {
    next(id, std::exchange(is_first, false) ? std::move(text) : " " + text);
  }
  void finish(auto&&) {}
};

/// Pieces that begin with `prefix` go on with the word, others have a blank in front; with `cleans`, English as it was
/// before punctuation was cut off, token by token as `tokenizers` does it.
struct WordPiece {
  std::string prefix;
  bool cleans = true;
  bool is_first = true;
  void push(TokenId id, std::string text, auto&& next) {
    static constexpr std::array<std::pair<const char*, const char*>, 11> rules{{{" .", "."},
                                                                                {" ?", "?"},
                                                                                {" !", "!"},
                                                                                {" ,", ","},
                                                                                {" ' ", "'"},
                                                                                {" n't", "n't"},
                                                                                {" 'm", "'m"},
                                                                                {" do not", " don't"},
                                                                                {" 's", "'s"},
                                                                                {" 've", "'ve"},
                                                                                {" 're", "'re"}}};
    if (!std::exchange(is_first, false)) text = text.starts_with(prefix) ? text.substr(prefix.size()) : " " + text;
    if (cleans) for (const auto& [from, to] : rules) text = detail::replaced(text, from, to);
    next(id, std::move(text));
  }
  void finish(auto&&) {}
};

/// SentencePiece's own: marks become blanks, the one that it puts in front of a text is removed, byte pieces become
/// bytes (U+FFFD for each that is part of no character), the unknown piece `unknown_surface`.
struct SentencePiece {
  std::string mark;
  bool strips_one = false;  ///< of the mark at the beginning
  bool strips_all = false;  ///< of the marks there, one from each token
  TokenId unknown = no_token;
  std::string unknown_surface{};
  std::string pending{};
  bool is_begun = false;  ///< something of the text is known

  void push(TokenId id, std::string text, auto&& next) {
    const int byte = id == unknown ? -1 : Vocabulary::byte_of(text);
    std::string out;
    if (byte >= 0) {
      pending += static_cast<char>(static_cast<unsigned char>(byte));
      detail::take_characters(pending, out, true, false);
    } else {
      detail::take_characters(pending, out, true, true);
      is_begun = is_begun || !out.empty();
      out += id == unknown ? unknown_surface : surface(text);
    }
    is_begun = is_begun || !out.empty();
    if (!out.empty()) next(id, std::move(out));
  }
  void finish(auto&& next) {
    std::string out;
    detail::take_characters(pending, out, true, true);
    if (!out.empty()) next(no_token, std::move(out));
  }

 private:
  std::string surface(const std::string& text) {
    std::string_view rest = text;
    if (!is_begun && (strips_one || strips_all) && rest.starts_with(mark)) {
      rest.remove_prefix(mark.size());
      if (!strips_all) is_begun = true;
    }
    return detail::replaced(std::string(rest), mark, " ");
  }
};

}  // namespace decoders

using DecodeStep = std::variant<decoders::Bytes, decoders::Replace, decoders::ByteFallback, decoders::Strip,
                                decoders::Metaspace, decoders::WordEnd, decoders::Join, decoders::WordPiece,
                                decoders::SentencePiece>;

/// Steps one behind the other, with what they keep; a copy of fresh ones decodes one text.
class Decoder {
 public:
  Decoder() = default;
  explicit Decoder(std::vector<DecodeStep> steps) : steps_(std::move(steps)) {}

  /// Appends to `out` the text that is certain with one token more.
  void push(TokenId id, std::string piece, std::string& out) { pass(0, id, std::move(piece), out); }

  /// Appends to `out` what was kept.
  void finish(std::string& out) {
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      std::visit([&](auto& step) { step.finish(Next{*this, i + 1, out}); }, steps_[i]);
    }
  }

 private:
  /// What a step passes on goes to step `i`.
  struct Next {
    Decoder& decoder;
    std::size_t i;
    std::string& out;
    void operator()(TokenId id, std::string text) const { decoder.pass(i, id, std::move(text), out); }
  };

  void pass(std::size_t i, TokenId id, std::string text, std::string& out) {
    if (i == steps_.size()) out += text;
    else std::visit([&](auto& step) { step.push(id, std::move(text), Next{*this, i + 1, out}); }, steps_[i]);
  }

  std::vector<DecodeStep> steps_;
};

}  // namespace calm::text
