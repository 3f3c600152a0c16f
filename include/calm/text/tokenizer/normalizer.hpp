/// \file  What tokenizers do to a text before they cut it: the steps of tokenizer.json's "normalizer".
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "calm/text/tokenizer/aligned.hpp"
#include "calm/text/tokenizer/charsmap.hpp"
#include "calm/text/tokenizer/regex.hpp"
#include "calm/text/tokenizer/unicode.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// One step. Texts are valid UTF-8 before and behind it.
using Normalizer = std::function<Aligned(Aligned)>;

namespace detail {

/// Rust's char::is_whitespace: the white space of Unicode without the separators that Python adds.
constexpr bool is_white_space(char32_t c) { return is_space(c) && !(c >= 0x1C && c <= 0x1F); }

/// A text in which each character c is replace(c), a string of UTF-8; what stays the same stands for itself.
template <class Replace>
Aligned map_characters(const Aligned& text, const Replace& replace) {
  Aligned out = text.successor();
  for (std::size_t i = 0; i < text.text().size();) {
    const CodePoint c = code_point_at(text.text(), i);
    const std::string now = replace(c.value);
    if (now == text.text().substr(i, c.bytes)) out.append(text, i, i + c.bytes);
    else out.append(now, text.span(i, i + c.bytes));
    i += c.bytes;
  }
  return out;
}

/// A text with `content` in the place of each range that find(text, visit) visits.
template <class Find>
Aligned replace_ranges(const Aligned& text, const std::string& content, const Find& find) {
  Aligned out = text.successor();
  std::size_t done = 0;
  find(text.text(), [&](std::size_t begin, std::size_t end) {
    out.append(text, done, begin);
    out.append(content, text.span(begin, end));
    done = end;
  });
  if (done == 0) return text;
  out.append(text, done, text.text().size());
  return out;
}

/// Calls visit(begin, end) for each place of `pattern`, which is not empty.
template <class Visit>
void find_string(std::string_view text, std::string_view pattern, Visit&& visit) {
  for (std::size_t i = 0; (i = text.find(pattern, i)) != text.npos; i += pattern.size()) visit(i, i + pattern.size());
}

}  // namespace detail

namespace normalizers {

inline Normalizer form(UnicodeForm form) {
  return [form](Aligned text) { return normalise(std::move(text), form); };
}

inline Normalizer lowercase() {
  return [](const Aligned& text) {
    return detail::map_characters(text, [](char32_t c) {
      std::string out;
      for (const char32_t d : detail::lower(c)) out += detail::utf8_of(d);
      return out;
    });
  };
}

/// Without marks; as BERT does it, only without those that take no room.
inline Normalizer strip_accents(bool as_bert = false) {
  return [as_bert](const Aligned& text) {
    return detail::map_characters(text, [as_bert](char32_t c) {
      return (as_bert ? detail::is_mark(c) : detail::is_any_mark(c)) ? "" : detail::utf8_of(c);
    });
  };
}

/// Without white space at its ends.
inline Normalizer strip(bool left, bool right) {
  return [left, right](const Aligned& aligned) {
    const std::string_view text = aligned.text();
    std::size_t begin = text.size(), end = 0;
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = code_point_at(text, i);
      if (!detail::is_white_space(c.value)) {
        begin = std::min(begin, i);
        end = i + c.bytes;
      }
      i += c.bytes;
    }
    if (!left) begin = 0;
    if (!right) end = text.size();
    return begin < end ? aligned.part(begin, end) : aligned.successor();
  };
}

inline Normalizer replace(std::string pattern, std::string content) {
  return [=](const Aligned& text) {
    return detail::replace_ranges(text, content, [&](std::string_view t, auto visit) {
      detail::find_string(t, pattern, visit);
    });
  };
}
inline Normalizer replace(Regex pattern, std::string content) {
  return [=](const Aligned& text) {
    return detail::replace_ranges(text, content, [&](std::string_view t, auto visit) { pattern.for_each(t, visit); });
  };
}

/// With `prefix` in front, which stands for nothing of the text; an empty text stays empty.
inline Normalizer prepend(std::string prefix) {
  return [=](const Aligned& text) {
    if (text.text().empty()) return text;
    Aligned out = text.successor();
    out.append(prefix, text.span(0, 0));
    out.append(text, 0, text.text().size());
    return out;
  };
}

/// SentencePiece's compiled rules as `tokenizers` applies them: to each grapheme of less than six bytes as a whole, the
/// shortest rule that matches its beginning, whatever stands behind; else to its characters one by one.
inline Normalizer charsmap(Charsmap rules) {
  return [rules = std::move(rules)](const Aligned& aligned) {
    const std::string_view text = aligned.text();
    Aligned out = aligned.successor();
    const auto apply = [&](std::size_t begin, std::size_t end) {
      const Charsmap::Rule rule = rules.shortest(text.substr(begin, end - begin));
      if (rule.bytes == 0) return false;
      out.append(rule.replacement, aligned.span(begin, end));
      return true;
    };
    detail::for_each_grapheme(text, [&](std::size_t begin, std::size_t end) {
      if (end - begin < 6 && apply(begin, end)) return;
      for (std::size_t i = begin; i < end;) {
        const std::size_t next = i + code_point_at(text, i).bytes;
        if (!apply(i, next)) out.append(aligned, i, next);
        i = next;
      }
    });
    return out;
  };
}

}  // namespace normalizers
}  // namespace calm::text
