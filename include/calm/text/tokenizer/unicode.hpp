/// \file  Unicode's normalisation forms, case and categories, by utf8proc.
///
/// Programs that link calm::text have utf8proc where it was found (CALM_UTF8PROC); without it, a tokenizer that needs
/// it is an `Error` when it is loaded (`require_unicode`).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#ifdef CALM_UTF8PROC
#include <utf8proc.h>
#endif

#include "calm/tensor/error.hpp"
#include "calm/text/tokenizer/aligned.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// Unicode's normalisation forms (UAX #15).
enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

namespace detail {

/// Throws if `what`, which stands at `place` of a file, needs utf8proc and there is none.
inline void require_unicode([[maybe_unused]] const std::string& what, [[maybe_unused]] const std::string& place) {
#ifndef CALM_UTF8PROC
  throw Error("calm::text: " + place + ": " + what + " needs Unicode's tables, and this program was built without "
              "utf8proc; install it (Debian: libutf8proc-dev), configure again and link calm::text");
#endif
}

/// `c` as UTF-8.
inline std::string utf8_of(char32_t c) {
  std::string out;
  const auto put = [&](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) return put(c), out;
  if (c < 0x800) put(0xC0 | c >> 6);
  else if (c < 0x10000) put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F));
  else put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F));
  put(0x80 | (c & 0x3F));
  return out;
}

/// A character of a text and what it stands for.
struct PlacedCharacter {
  char32_t value;
  Span from;
  std::size_t order = 0;  ///< among the characters of a decomposition, before marks are reordered
};

#ifdef CALM_UTF8PROC

/// Whether `c` is a mark that takes no room (Mn).
inline bool is_mark(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_MN;
}
/// Whether `c` is a mark of any kind.
inline bool is_any_mark(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}
/// Whether Rust's regex class \w holds (UTS #18, annex C).
inline bool is_word(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC: return true;
    default: return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9);
  }
}
inline bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}
/// Whether `c` is a control, format or private character, which BERT's normalisation removes.
inline bool is_other(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}
inline std::u32string lower(char32_t c) {
  if (c == 0x130) return U"i\u0307";  // the one character that becomes two
  return {static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)))};
}

/// Calls visit(begin, end) for each extended grapheme cluster (UAX #29) of a valid text. PCRE2's \X is not used: up to
/// 10.42 it joins neighbouring pictographs.
template <class Visit>
void for_each_grapheme(std::string_view text, Visit&& visit) {
  std::size_t begin = 0;
  utf8proc_int32_t state = 0, previous = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const auto now = static_cast<utf8proc_int32_t>(c.value);
    if (i > 0 && utf8proc_grapheme_break_stateful(previous, now, &state)) {
      visit(begin, i);
      begin = i;
    }
    previous = now;
    i += c.bytes;
  }
  if (begin < text.size()) visit(begin, text.size());
}

/// The canonical or compatible decomposition, marks in canonical order.
inline std::vector<PlacedCharacter> decompose(const Aligned& text, bool is_compatible) {
  const auto combining = [](const PlacedCharacter& c) {
    return utf8proc_get_property(static_cast<utf8proc_int32_t>(c.value))->combining_class;
  };
  std::vector<PlacedCharacter> out;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (is_compatible ? UTF8PROC_COMPAT : 0));
  for (std::size_t i = 0; i < text.text().size();) {
    const CodePoint c = code_point_at(text.text(), i);
    std::array<utf8proc_int32_t, 32> parts;  // the longest decomposition is of 18
    int last_class = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.value), parts.data(), parts.size(), options,
                                           &last_class);
    for (utf8proc_ssize_t k = 0; k < n; ++k)
      out.push_back({static_cast<char32_t>(parts[static_cast<std::size_t>(k)]), text.span(i, i + c.bytes), out.size()});
    i += c.bytes;
  }
  for (std::size_t begin = 0; begin < out.size();) {
    std::size_t end = begin;
    while (end < out.size() && combining(out[end]) != 0) ++end;
    std::sort(out.begin() + static_cast<std::ptrdiff_t>(begin), out.begin() + static_cast<std::ptrdiff_t>(end),
              [&](const auto& a, const auto& b) {
                return std::pair(combining(a), a.order) < std::pair(combining(b), b.order);
              });
    begin = end + 1;
  }
  return out;
}

/// The canonical composition of a decomposed text (UAX #15, D117).
inline std::vector<PlacedCharacter> compose(const std::vector<PlacedCharacter>& text) {
  std::vector<PlacedCharacter> out;
  std::ptrdiff_t starter = -1;
  int last_class = -1;  // of what stands between the starter and here; -1: nothing does
  for (const PlacedCharacter& c : text) {
    const int own = utf8proc_get_property(static_cast<utf8proc_int32_t>(c.value))->combining_class;
    if (starter >= 0 && last_class < own) {
      PlacedCharacter& base = out[static_cast<std::size_t>(starter)];
      std::array<utf8proc_int32_t, 3> pair{static_cast<utf8proc_int32_t>(base.value),
                                           static_cast<utf8proc_int32_t>(c.value), 0};
      const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
      if (utf8proc_normalize_utf32(pair.data(), 2, options) == 1) {
        base.value = static_cast<char32_t>(pair[0]);
        base.from = {std::min(base.from.begin, c.from.begin), std::max(base.from.end, c.from.end)};
        continue;
      }
    }
    if (own == 0) {
      starter = static_cast<std::ptrdiff_t>(out.size());
      last_class = -1;
    } else {
      last_class = own;
    }
    out.push_back(c);
  }
  return out;
}

#else

inline bool is_mark(char32_t) { return false; }
inline bool is_any_mark(char32_t) { return false; }
inline bool is_word(char32_t) { return false; }
inline bool is_punctuation(char32_t) { return false; }
inline bool is_other(char32_t) { return false; }
inline std::u32string lower(char32_t c) { return {c}; }
template <class Visit>
void for_each_grapheme(std::string_view, Visit&&) {}
inline std::vector<PlacedCharacter> decompose(const Aligned&, bool) { return {}; }
inline std::vector<PlacedCharacter> compose(const std::vector<PlacedCharacter>&) { return {}; }

#endif

/// Whether all of `text` is below `limit`.
inline bool is_below(std::string_view text, char32_t limit) {
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value >= limit) return false;
    i += c.bytes;
  }
  return true;
}

}  // namespace detail

/// `text`, which must be valid UTF-8, in a normalisation form. What does not change stands for itself.
inline Aligned normalise(Aligned text, UnicodeForm form) {
  const bool composes = form == UnicodeForm::nfc || form == UnicodeForm::nfkc;
  // Below these characters nothing decomposes and nothing composes.
  if (detail::is_below(text.text(), form == UnicodeForm::nfc ? 0x300 : 0x80)) return text;
  auto characters = detail::decompose(text, form == UnicodeForm::nfkc || form == UnicodeForm::nfkd);
  if (composes) characters = detail::compose(characters);
  Aligned out = text.successor();
  for (const auto& c : characters) out.append(detail::utf8_of(c.value), c.from);
  return out;
}

}  // namespace calm::text
