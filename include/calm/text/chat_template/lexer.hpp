/// \file  A template cut into tokens, by the rules of jinja2's lexer with trim_blocks and lstrip_blocks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/source.hpp"
#include "calm/text/tokenizer/unicode.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text::jinja {

struct Lexeme {
  enum Kind { plain, block_begin, block_end, print_begin, print_end, name, string, integer, real, symbol, end };
  Kind kind = end;
  std::size_t at = 0;
  std::string text{};  ///< of a string: what it stands for
};

/// Cuts a whole template; the last token is `end`.
class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), all_(source.text()) {}

  std::vector<Lexeme> run() {
    while (i_ < all_.size()) text_and_tag();
    out_.push_back({Lexeme::end, all_.size()});
    return std::move(out_);
  }

 private:
  bool at(std::string_view what) const { return all_.substr(i_).starts_with(what); }
  [[noreturn]] void fail(std::size_t at, const std::string& what) const { source_.fail(at, what); }

  /// Text up to the next tag, and that tag.
  void text_and_tag() {
    const std::size_t begin = i_;
    std::size_t tag = begin;
    do tag = all_.find('{', tag);
    while (tag != all_.npos && tag + 1 < all_.size() && std::string_view("{%#").find(all_[tag + 1]) == all_.npos &&
           ++tag != 0);
    if (tag == all_.npos || tag + 1 == all_.size()) {
      i_ = all_.size();
      return add_text(begin, i_);
    }
    const char kind = all_[tag + 1];
    i_ = tag + 2;
    add_text(begin, end_of_text(begin, tag, i_ < all_.size() ? all_[i_] : '\0', kind != '{'));
    if (at("-") || at("+")) ++i_;
    if (kind == '#') return skip_comment(tag);
    if (kind == '%' && is_raw("raw")) return raw(tag);
    out_.push_back({kind == '%' ? Lexeme::block_begin : Lexeme::print_begin, tag});
    inside(kind == '%');
  }

  void add_text(std::size_t begin, std::size_t end) {
    if (begin < end) out_.push_back({Lexeme::plain, begin, std::string(all_.substr(begin, end - begin))});
  }

  /// Where the text before a tag ends: "{%-" takes all white space away, a block or comment that begins a line what
  /// indents it, unless it is "{%+".
  std::size_t end_of_text(std::size_t begin, std::size_t tag, char sign, bool strips) const {
    const std::string_view text = all_.substr(begin, tag - begin);
    if (sign == '-') return begin + strip_right(text).size();
    if (sign == '+' || !strips) return tag;
    const std::size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
    const bool begins_line = line > 0 || begin == 0 || all_[begin - 1] == '\n';
    return begins_line && strip(text.substr(line)).empty() ? begin + line : tag;
  }

  /// Behind a tag's end: "-%}" takes all white space, a block's or comment's "%}" the line's end, "+%}" nothing.
  void after_tag(char sign, bool trims) {
    if (sign == '-') {
      while (i_ < all_.size() && is_space(code_point_at(all_, i_).value)) i_ += code_point_at(all_, i_).bytes;
    } else if (sign != '+' && trims && at("\n")) {
      ++i_;
    }
  }

  void skip_comment(std::size_t begin) {
    const std::size_t close = all_.find("#}", i_);
    if (close == all_.npos) fail(begin, "the comment has no end, '#}'");
    const char sign = close > i_ ? all_[close - 1] : '\0';
    i_ = close + 2;
    after_tag(sign, true);
  }

  /// Whether a tag at this place is {% word %}, white space aside.
  bool is_raw(std::string_view word) const {
    const std::size_t from = all_.find_first_not_of(" \t\n\v\f", i_);
    if (from == all_.npos || !all_.substr(from).starts_with(word)) return false;
    std::size_t behind = all_.find_first_not_of(" \t\n\v\f", from + word.size());
    if (behind != all_.npos && (all_[behind] == '-' || (word != "raw" && all_[behind] == '+'))) ++behind;
    return behind != all_.npos && all_.substr(behind).starts_with("%}");
  }

  void raw(std::size_t tag) {
    std::size_t close = all_.find("%}", i_);
    const bool eats = all_[close - 1] == '-';
    i_ = close + 2;
    after_tag(eats ? '-' : '\0', false);
    const std::size_t begin = i_;
    for (std::size_t end = begin; (end = all_.find("{%", end)) != all_.npos; end += 2) {
      i_ = end + 2;
      const char sign = i_ < all_.size() ? all_[i_] : '\0';
      if (sign == '-' || sign == '+') ++i_;
      if (!is_raw("endraw")) continue;
      add_text(begin, end_of_text(begin, end, sign, true));
      close = all_.find("%}", i_);
      i_ = close + 2;
      return after_tag(all_[close - 1], true);
    }
    fail(tag, "'raw' has no 'endraw'");
  }

  /// The tokens of a tag, its end included.
  void inside(bool is_block) {
    const std::size_t begin = out_.back().at;
    const std::string_view close = is_block ? "%}" : "}}";
    std::string brackets;  // that are open, as what closes them
    while (true) {
      while (i_ < all_.size() && is_space(code_point_at(all_, i_).value)) i_ += code_point_at(all_, i_).bytes;
      if (i_ == all_.size()) fail(begin, "the tag has no end, '" + std::string(close) + "'");
      const bool signs = at("-") || (is_block && at("+"));
      if (brackets.empty() && all_.substr(i_ + signs).starts_with(close)) {
        out_.push_back({is_block ? Lexeme::block_end : Lexeme::print_end, i_});
        const char sign = signs ? all_[i_] : '\0';
        i_ += signs + close.size();
        return after_tag(sign, is_block);
      }
      token(brackets);
    }
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

  void token(std::string& brackets) {
    const char c = all_[i_];
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    if (is_letter(c)) {
      const std::size_t begin = i_;
      while (i_ < all_.size() && (is_letter(all_[i_]) || is_digit(all_[i_]))) ++i_;
      out_.push_back({Lexeme::name, begin, std::string(all_.substr(begin, i_ - begin))});
      return;
    }
    constexpr std::array<std::string_view, 25> symbols{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                       "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                       ">",  "<",  "=",  ".",  ":",  "|",  ","};
    const auto symbol = std::find_if(symbols.begin(), symbols.end(), [&](std::string_view s) { return at(s); });
    if (symbol == symbols.end())
      fail(i_, "found the character " + shown(all_.substr(i_, code_point_at(all_, i_).bytes)) +
                   ", which is not part of the language");
    if (c == '(' || c == '[' || c == '{') brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c)
        fail(i_, std::string("found '") + c + "', expected " +
                     (brackets.empty() ? "no closing bracket" : std::string("'") + brackets.back() + "'"));
      brackets.pop_back();
    }
    out_.push_back({Lexeme::symbol, i_, std::string(*symbol)});
    i_ += symbol->size();
  }

  void number() {
    const std::size_t begin = i_;
    const auto digits = [&] {
      while (i_ < all_.size() && (is_digit(all_[i_]) || all_[i_] == '_')) ++i_;
    };
    digits();
    bool is_real = false;
    if (i_ + 1 < all_.size() && all_[i_] == '.' && is_digit(all_[i_ + 1]) && (begin == 0 || all_[begin - 1] != '.')) {
      is_real = true;
      ++i_;
      digits();
    }
    std::size_t e = i_ + 1;
    if (i_ < all_.size() && (all_[i_] == 'e' || all_[i_] == 'E')) {
      if (e < all_.size() && (all_[e] == '+' || all_[e] == '-')) ++e;
      if (e < all_.size() && is_digit(all_[e])) {
        is_real = true;
        i_ = e;
        digits();
      }
    }
    std::string text(all_.substr(begin, i_ - begin));
    std::erase(text, '_');
    if (i_ < all_.size() && is_letter(all_[i_])) fail(begin, "a number goes on as a name; only decimal ones are read");
    out_.push_back({is_real ? Lexeme::real : Lexeme::integer, begin, std::move(text)});
  }

  void string(char quote) {
    const std::size_t begin = i_++;
    std::string text;
    while (true) {
      if (i_ == all_.size()) fail(begin, "the text has no closing quote");
      const char c = all_[i_++];
      if (c == quote) break;
      if (c == '\\')
        escape(begin, text);
      else
        text += c;
    }
    out_.push_back({Lexeme::string, begin, std::move(text)});
  }

  /// Python's escapes; what is none stays as it is.
  void escape(std::size_t begin, std::string& text) {
    if (i_ == all_.size()) fail(begin, "the text has no closing quote");
    const std::size_t at = i_ - 1;
    const char c = all_[i_++];
    constexpr std::string_view letters = "ntr\\'\"abfv0", meant("\n\t\r\\'\"\a\b\f\v\0", 11);
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) return append(at, text, digits);
    if (c == 'N' || (is_digit(c) && (c != '0' || (i_ < all_.size() && is_digit(all_[i_])))))
      fail(at, std::string("the escape '\\") + c + "' is not supported; write '\\u' and four hexadecimal digits");
    if (c == '\n') return;
    const std::size_t letter = letters.find(c);
    if (letter != letters.npos)
      text += meant[letter];
    else
      (text += '\\') += c;
  }
  void append(std::size_t at, std::string& text, std::size_t digits) {
    char32_t value = 0;
    const std::string_view hex = all_.substr(i_, digits);
    if (hex.size() < digits || hex.find_first_not_of("0123456789abcdefABCDEF") != hex.npos)
      fail(at, "expected " + std::to_string(digits) + " hexadecimal digits in the escape");
    for (const char c : hex) value = value << 4 | static_cast<char32_t>(is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) fail(at, "the escape stands for no character");
    text += detail::utf8_of(value);
    i_ += digits;
  }

  const Source& source_;
  std::string_view all_;
  std::size_t i_ = 0;
  std::vector<Lexeme> out_;
};

}  // namespace calm::text::jinja
