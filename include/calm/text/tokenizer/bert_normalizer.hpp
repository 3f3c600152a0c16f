/// \file  BERT's normalisation (google-research/bert, tokenization.py), as `tokenizers` applies it. That library has
/// the categories of Unicode 8, ours are utf8proc's: they agree on every character that Unicode 8 has.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "calm/text/tokenizer/normalizer.hpp"
#include "calm/text/tokenizer/unicode.hpp"

namespace calm::text {

/// The parts of it, by the words of tokenizer.json.
struct BertNormalizerOptions {
  bool clean_text = true;            ///< without control characters; white space becomes blanks
  bool handle_chinese_chars = true;  ///< blanks around each ideograph
  bool strip_accents = true;         ///< NFD, without marks
  bool lowercase = true;
};

namespace detail {

/// BERT's ideographs, with the gap at the beginning of CJK extension E that `tokenizers` has.
inline bool is_ideograph(char32_t c) {
  static constexpr std::array<std::pair<char32_t, char32_t>, 8> blocks{{{0x3400, 0x4DBF},
                                                                        {0x4E00, 0x9FFF},
                                                                        {0xF900, 0xFAFF},
                                                                        {0x20000, 0x2A6DF},
                                                                        {0x2A700, 0x2B73F},
                                                                        {0x2B740, 0x2B81F},
                                                                        {0x2B920, 0x2CEAF},
                                                                        {0x2F800, 0x2FA1F}}};
  return std::any_of(blocks.begin(), blocks.end(), [&](const auto& b) { return c >= b.first && c <= b.second; });
}

inline std::string clean(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return " ";
  if (c == 0 || c == 0xFFFD || is_other(c)) return "";
  return is_white_space(c) ? " " : utf8_of(c);
}

}  // namespace detail

namespace normalizers {

inline Normalizer bert(const BertNormalizerOptions& options) {
  return [options, strip = strip_accents(true), lower = lowercase()](Aligned text) {
    if (options.clean_text) text = detail::map_characters(text, detail::clean);
    if (options.handle_chinese_chars) {
      text = detail::map_characters(text, [](char32_t c) {
        const std::string same = detail::utf8_of(c);
        return detail::is_ideograph(c) ? " " + same + " " : same;
      });
    }
    if (options.strip_accents) text = strip(normalise(std::move(text), UnicodeForm::nfd));
    if (options.lowercase) text = lower(std::move(text));
    return text;
  };
}

}  // namespace normalizers
}  // namespace calm::text
