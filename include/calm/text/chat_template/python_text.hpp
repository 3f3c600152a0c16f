/// \file  What Python's str does, on UTF-8: it counts characters.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calm/text/chat_template/machine.hpp"
#include "calm/text/tokenizer/unicode.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text::jinja {

inline bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

/// len() of a text.
inline std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// The characters of a text, one by one.
inline std::vector<std::string_view> characters(Machine& machine, std::string_view text) {
  machine.spend(1 + text.size());
  std::vector<std::string_view> out;
  for (std::size_t i = 0, n; i < text.size(); i += n) {
    n = code_point_at(text, i).bytes;
    out.push_back(text.substr(i, n));
  }
  return out;
}

/// The byte at which character `index` begins; the text's end if it has fewer.
inline std::size_t byte_of(std::string_view text, std::size_t index) {
  std::size_t i = 0;
  for (; i < text.size() && index > 0; --index) i += code_point_at(text, i).bytes;
  return i;
}

/// text[begin:end].
inline std::string_view python_slice(std::string_view text, std::optional<std::int64_t> begin,
                                     std::optional<std::int64_t> end) {
  const auto n = static_cast<std::int64_t>(character_count(text));
  const auto place = [&](std::int64_t index) {
    return static_cast<std::size_t>(index < -n ? 0 : std::clamp<std::int64_t>(index < 0 ? index + n : index, 0, n));
  };
  const std::size_t first = place(begin.value_or(0)), last = place(end.value_or(n));
  if (first >= last) return {};
  const std::size_t from = byte_of(text, first);
  return text.substr(from, byte_of(text.substr(from), last - first));
}

/// What of a text str.strip(), lstrip() and rstrip() leave; `set` holds the characters that go, white space if null.
inline std::string_view strip_python(Machine& machine, std::string_view text, const std::string* set, bool left,
                                     bool right) {
  machine.search(text.size(), set ? set->size() : 0);
  const auto goes = [&](std::size_t i, std::size_t n) {
    return set ? set->find(text.substr(i, n)) != set->npos : is_space(code_point_at(text, i).value);
  };
  while (left && !text.empty()) {
    const std::size_t n = code_point_at(text, 0).bytes;
    if (!goes(0, n)) break;
    text.remove_prefix(n);
  }
  while (right && !text.empty()) {
    std::size_t last = text.size() - 1;
    while ((text[last] & 0xC0) == 0x80) --last;
    if (!goes(last, text.size() - last)) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

/// str.split(): at white space without `by`. At most `most` cuts, from the right if `from_right`; negative: any number.
inline std::vector<std::string_view> split_python(Machine& machine, std::string_view text, const std::string* by,
                                                  std::int64_t most, bool from_right) {
  machine.search(text.size(), by ? by->size() : 0);
  std::vector<std::string_view> out;
  if (!by) {
    out = split_at_space(text);
    const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(most, 0));
    machine.spend(out.size());
    if (most < 0 || out.size() <= kept) return out;
    if (from_right) {
      const char* end = out[out.size() - kept - 1].data() + out[out.size() - kept - 1].size();
      const std::size_t front = static_cast<std::size_t>(end - text.data());
      out.erase(out.begin(), out.end() - static_cast<std::ptrdiff_t>(kept));
      out.insert(out.begin(), text.substr(0, front));
    } else {
      const std::size_t rest = static_cast<std::size_t>(out[kept].data() - text.data());
      out.resize(kept);
      out.push_back(text.substr(rest));
    }
    return out;
  }
  if (by->empty()) machine.fail("expected a separator, found an empty text");
  while (most != 0) {
    const std::size_t i = from_right ? text.rfind(*by) : text.find(*by);
    if (i == text.npos) break;
    machine.spend(1);
    out.push_back(from_right ? text.substr(i + by->size()) : text.substr(0, i));
    text = from_right ? text.substr(0, i) : text.substr(i + by->size());
    if (most > 0) --most;
  }
  out.push_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

/// str.splitlines().
inline std::vector<std::string_view> split_lines(Machine& machine, std::string_view text, bool keep_ends) {
  machine.spend(1 + text.size());
  std::vector<std::string_view> out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const bool ends = (c.value >= 0x0A && c.value <= 0x0D) || (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                      c.value == 0x2028 || c.value == 0x2029;
    const std::size_t end = i;
    i += c.bytes;
    if (!ends) continue;
    if (c.value == '\r' && i < text.size() && text[i] == '\n') ++i;
    out.push_back(text.substr(begin, (keep_ends ? i : end) - begin));
    begin = i;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

/// str.replace(); at most `most` times, negative: any number.
inline std::string replace_python(Machine& machine, std::string_view text, std::string_view old, std::string_view with,
                                  std::int64_t most) {
  machine.search(text.size(), old.size());
  std::string out;
  std::size_t i = 0;
  for (; most != 0 && i <= text.size(); most -= most > 0) {
    if (old.empty()) {  // stands before each character and at the end
      machine.append(out, with);
      if (i == text.size()) return out;
      const std::size_t n = code_point_at(text, i).bytes;
      machine.append(out, text.substr(i, n));
      i += n;
      continue;
    }
    const std::size_t found = text.find(old, i);
    if (found == text.npos) break;
    machine.append(out, text.substr(i, found - i));
    machine.append(out, with);
    i = found + old.size();
  }
  machine.append(out, text.substr(i));
  return out;
}

enum class Case { lower, upper, title, capitalize };

/// Whether a character beyond ASCII is of a script or kind that has no upper and lower case: those from Hebrew to
/// Ethiopic, punctuation and symbols, those of East Asia, emoji. False where it would take Unicode's tables to know.
constexpr bool has_no_case(char32_t c) {
  return (c >= 0x590 && c < 0x10A0) || (c >= 0x1100 && c < 0x13A0) || (c >= 0x2000 && c < 0x2070) ||
         (c >= 0x20A0 && c < 0x2100) || (c >= 0x2190 && c < 0x2460) || (c >= 0x2500 && c < 0x2C00) ||
         (c >= 0x2E80 && c < 0xA640) || (c >= 0xAC00 && c < 0xFB00) || (c >= 0x1F300 && c < 0x40000);
}

/// str.lower() of any text, by Unicode's tables. Sigma is refused: how it is written depends on its place in the word.
inline std::string lower_case(Machine& machine, std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += code_point_at(text, i).bytes) {
    const char32_t c = code_point_at(text, i).value;
    if (c == 0x3A3) machine.unsupported("changing the case of 'Σ'");
    for (const char32_t lower : detail::lower(c)) machine.append(out, detail::utf8_of(lower));
  }
  return out;
}

/// str.lower(), upper(), title() and capitalize(), as far as only ASCII letters have a case, or `lower_case` helps.
inline std::string change_case(Machine& machine, std::string_view text, Case to) {
  machine.read(text.size());
  for (std::size_t i = 0; i < text.size(); i += code_point_at(text, i).bytes) {
    const char32_t c = code_point_at(text, i).value;
    if (c < 0x80 || has_no_case(c)) continue;
#ifdef CALM_UTF8PROC
    if (to == Case::lower) return lower_case(machine, text);
#endif
    machine.unsupported("changing the case of " + shown(text.substr(i, code_point_at(text, i).bytes)));
  }
  std::string out(text);
  bool is_first = true;
  for (char& c : out) {
    const bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
    const bool up = to == Case::upper || (to != Case::lower && is_first);
    if (up && is_lower) c = static_cast<char>(c - 'a' + 'A');
    if (!up && is_upper) c = static_cast<char>(c - 'A' + 'a');
    is_first = to == Case::title && !(is_lower || is_upper);
  }
  return out;
}

}  // namespace calm::text::jinja
