/// \file  UTF-8 read strictly, and the white space of Unicode. The only decoder of calm.
///
/// Well-formed is what table 3-7 of the Unicode standard lists: no overlong forms, no surrogates, nothing above
/// U+10FFFF. Positions are in bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "calm/tensor/error.hpp"

namespace calm::text {

/// What stands at one place of a text.
struct CodePoint {
  char32_t value = 0;     ///< meaningless unless `valid`
  std::size_t bytes = 0;  ///< at least 1; of an invalid place: its maximal subpart, which one U+FFFD replaces
  bool valid = false;
};

/// The code point at byte `at`, which must be inside of `text`.
inline CodePoint code_point_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) -> unsigned { return static_cast<unsigned char>(text[at + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  if (lead < 0xC2 || lead > 0xF4) return {0, 1, false};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte alone decides about overlong forms, surrogates and the upper end.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t value = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i == text.size() || byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF))
      return {0, i, false};
    value = value << 6 | (byte(i) & 0x3F);
  }
  return {value, length, true};
}

/// The first byte that is not UTF-8; `npos` if there is none.
inline std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    if (std::uint64_t eight; i + 8 <= text.size()) {  // most text is ASCII for long stretches
      std::memcpy(&eight, text.data() + i, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const CodePoint c = code_point_at(text, i);
    if (!c.valid) return i;
    i += c.bytes;
  }
  return std::string_view::npos;
}

/// The code points of `text`. Throws `Error` with the place of the first byte that is not UTF-8.
inline std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    calm::detail::require(c.valid, [&] {
      return "calm::text::decode_utf8: expected UTF-8, found an invalid byte at " + std::to_string(i) + " of " +
             std::to_string(text.size()) + "; calm::text::repair_utf8 replaces what is invalid by U+FFFD";
    });
    out += c.value;
    i += c.bytes;
  }
  return out;
}

/// `text` with U+FFFD for each maximal invalid subpart, as Python's errors="replace": makes whole what a generation
/// that ended inside of a character has left.
inline std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    out += c.valid ? text.substr(i, c.bytes) : std::string_view("\xEF\xBF\xBD");
    i += c.bytes;
  }
  return out;
}

/// Whether Python's str.isspace() holds: the white space of Unicode and the separators U+001C to U+001F.
constexpr bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/// The words of a valid text between white space, as Python's str.split(): views into `text`, none of them empty.
inline std::vector<std::string_view> split_at_space(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t begin = 0, i = 0;
  while (i < text.size()) {
    const CodePoint c = code_point_at(text, i);
    if (is_space(c.value)) {
      if (i > begin) words.push_back(text.substr(begin, i - begin));
      begin = i + c.bytes;
    }
    i += c.bytes;
  }
  if (i > begin) words.push_back(text.substr(begin));
  return words;
}

/// A valid text without the white space at its end, as Python's str.rstrip().
inline std::string_view strip_right(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    i += c.bytes;
    if (!is_space(c.value)) end = i;
  }
  return text.substr(0, end);
}

/// A valid text without the white space at both ends, as Python's str.strip().
inline std::string_view strip(std::string_view text) {
  text = strip_right(text);
  while (!text.empty()) {
    const CodePoint c = code_point_at(text, 0);
    if (!is_space(c.value)) break;
    text.remove_prefix(c.bytes);
  }
  return text;
}

}  // namespace calm::text
