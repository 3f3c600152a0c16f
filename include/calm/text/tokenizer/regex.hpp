/// \file  Regular expressions of tokenizers, with look-ahead and Unicode classes, by PCRE2.
///
/// Programs that link calm::text have PCRE2 where it was found (CALM_PCRE2); without it, an expression is an `Error`.
/// What \p{...} and \s match is by PCRE2's version of Unicode: a reference library with another version cuts text
/// differently at characters that are new in one of them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#ifdef CALM_PCRE2
#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>
#endif

#include "calm/tensor/error.hpp"

namespace calm::text {

/// A compiled expression; copies share it.
class Regex {
 public:
  struct Match {
    std::size_t begin = 0, end = 0;
    bool found = false;
  };

  /// Compiles `pattern`. Throws `Error` with `place`, the file and key where it stands, if it is no expression.
  Regex(const std::string& pattern, const std::string& place);

  /// The first match that begins at byte `from` of `text` or later. `text` must be valid UTF-8; look-around sees no
  /// more than it. Throws `Error` if the search takes too long (`match_limit`).
  Match find(std::string_view text, std::size_t from) const;

  /// Calls visit(begin, end) for each match, from left to right; none overlap, and none are empty.
  template <class Visit>
  void for_each(std::string_view text, Visit&& visit) const {
    for (std::size_t from = 0; from < text.size();) {
      const Match match = find(text, from);
      if (!match.found || match.begin < from) return;  // \K moves a match's beginning
      if (match.end > match.begin) visit(match.begin, match.end);
      from = match.end > match.begin ? match.end : match.end + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) ++from;
    }
  }

  /// Steps that one search may take; real expressions take a few per character.
  static constexpr unsigned match_limit = 10'000'000;
  /// KiB that one search may take.
  static constexpr unsigned heap_limit = 64 << 10;

 private:
#ifdef CALM_PCRE2
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  std::shared_ptr<pcre2_code> code_;
  std::shared_ptr<pcre2_match_context> context_;
#endif
  std::string place_;
};

#ifdef CALM_PCRE2

inline Regex::Regex(const std::string& pattern, const std::string& place) : place_(place) {
  int code = 0;
  PCRE2_SIZE at = 0;
  const auto options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;  // \C would cut characters in two
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &code, &at, nullptr),
              Free());
  if (!code_) {
    PCRE2_UCHAR reason[256] = {};
    pcre2_get_error_message(code, reason, sizeof reason);
    throw Error("calm::text: " + place + ": expected a regular expression, found at its byte " + std::to_string(at) +
                ": " + reinterpret_cast<const char*>(reason));
  }
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where the processor has none, the interpreter serves
  context_.reset(pcre2_match_context_create(nullptr), Free());
  calm::detail::require(context_ != nullptr, [] { return std::string("calm::text::Regex: out of memory"); });
  pcre2_set_match_limit(context_.get(), match_limit);
  pcre2_set_depth_limit(context_.get(), match_limit);
  pcre2_set_heap_limit(context_.get(), heap_limit);
}

inline Regex::Match Regex::find(std::string_view text, std::size_t from) const {
  // One match's offsets suffice for all expressions, as no groups are read.
  static thread_local const std::unique_ptr<pcre2_match_data, Free> data(pcre2_match_data_create(1, nullptr));
  const int count = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                PCRE2_NO_UTF_CHECK, data.get(), context_.get());
  if (count == PCRE2_ERROR_NOMATCH) return {};
  if (count < 0) {
    PCRE2_UCHAR reason[256] = {};
    pcre2_get_error_message(count, reason, sizeof reason);
    throw Error("calm::text: " + place_ + ": the expression failed at byte " + std::to_string(from) +
                " of a text: " + reinterpret_cast<const char*>(reason));
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data.get());
  return {offsets[0], offsets[1], true};
}

#else

inline Regex::Regex(const std::string&, const std::string& place) {
  throw Error("calm::text: " + place + ": this tokenizer needs regular expressions, and this program was built without "
              "PCRE2; install it (Debian: libpcre2-dev), configure again and link calm::text");
}
inline Regex::Match Regex::find(std::string_view, std::size_t) const { return {}; }

#endif

}  // namespace calm::text
