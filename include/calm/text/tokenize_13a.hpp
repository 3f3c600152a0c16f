/// \file  The tokenization "13a" of BLEU: that of NIST's mteval-v13a.pl as sacreBLEU applies it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace calm::text {

namespace detail {

inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

constexpr bool is_digit_13a(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_stop_13a(char c) { return c == '.' || c == ','; }

/// ASCII punctuation that is always a word of its own: all but ' , - and the full stop.
constexpr bool is_punctuation_13a(char c) {
  return (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') || c == '/' || (c >= ':' && c <= '@') ||
         (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/// One pass over neighbours (a, b): where `matches`, writes a, b with blanks as given and goes on behind both, so that
/// a character that was used is not looked at again, as in the substitution of a regular expression.
template <class Matches>
std::string separate(std::string_view text, Matches matches, std::string_view before, std::string_view between,
                     std::string_view after) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  std::size_t i = 0;
  while (i < text.size()) {
    if (i + 1 < text.size() && matches(text[i], text[i + 1])) {
      out.append(before).append(1, text[i]).append(between).append(1, text[i + 1]).append(after);
      i += 2;
    } else {
      out += text[i++];
    }
  }
  return out;
}

}  // namespace detail

/// `text`, valid UTF-8, with white space around each token of 13a. Its words are `split_at_space` of this.
///
/// Undoes hyphens at line ends and four HTML entities; separates ASCII punctuation, full stops and commas unless
/// between digits, and hyphens behind digits. All its classes are ASCII: bytes of longer characters are never split.
inline std::string tokenize_13a(std::string_view text) {
  std::string line(text);
  detail::replace_all(line, "<skipped>", "");
  detail::replace_all(line, "-\n", "");
  detail::replace_all(line, "\n", " ");
  detail::replace_all(line, "&quot;", "\"");
  detail::replace_all(line, "&amp;", "&");  // before the next two: "&amp;lt;" becomes "<"
  detail::replace_all(line, "&lt;", "<");
  detail::replace_all(line, "&gt;", ">");

  std::string spaced = " ";
  spaced.reserve(2 * line.size() + 2);
  for (const char c : line) {
    if (detail::is_punctuation_13a(c)) spaced.append(1, ' ').append(1, c).append(1, ' ');
    else spaced += c;
  }
  spaced += ' ';
  using detail::is_digit_13a, detail::is_stop_13a, detail::separate;
  spaced = separate(spaced, [](char a, char b) { return !is_digit_13a(a) && is_stop_13a(b); }, "", " ", " ");
  spaced = separate(spaced, [](char a, char b) { return is_stop_13a(a) && !is_digit_13a(b); }, " ", " ", "");
  return separate(spaced, [](char a, char b) { return is_digit_13a(a) && b == '-'; }, "", " ", " ");
}

}  // namespace calm::text
