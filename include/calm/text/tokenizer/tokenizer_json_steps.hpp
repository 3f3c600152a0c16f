/// \file  The steps that tokenizer.json names: normalizers, pre-tokenizers, decoders and templates. What is not here is
/// refused by its name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "calm/text/tokenizer/bert_normalizer.hpp"
#include "calm/text/tokenizer/decoder.hpp"
#include "calm/text/tokenizer/normalizer.hpp"
#include "calm/text/tokenizer/pre_tokenizer.hpp"
#include "calm/text/tokenizer/regex.hpp"
#include "calm/text/tokenizer/strict_json.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"

namespace calm::text::detail {

[[noreturn]] inline void refuse(const JsonValue& step, const std::string& known) {
  step["type"].expected("one of " + known);
}

/// The parts of a value of type Sequence, or the value alone.
inline std::vector<JsonValue> sequence(const JsonValue& step, const std::string& key) {
  return step["type"].text() == "Sequence" ? step[key].items() : std::vector<JsonValue>{step};
}

/// {"String": ...} or {"Regex": ...}: calls text(string) or regex(expression).
template <class Text, class Pattern>
auto read_pattern(const JsonValue& pattern, const Text& text, const Pattern& regex) {
  if (pattern.has("Regex")) return regex(Regex(pattern["Regex"].text(), pattern.place()));
  return text(pattern["String"].some_text());
}

/// RFC 4648's base64, with padding. Throws with the place.
inline std::string decode_base64(std::string_view text, const std::string& place) {
  static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  unsigned bits = 0, count = 0;
  for (const char c : text) {
    const std::size_t digit = digits.find(c);
    calm::detail::require(digit != digits.npos, [&] {
      return "calm::text: " + place + ": expected base64, found " + in_quotes(std::string_view(&c, 1));
    });
    bits = bits << 6 | static_cast<unsigned>(digit);
    if ((count += 6) < 8) continue;
    out += static_cast<char>(static_cast<unsigned char>(bits >> (count -= 8)));
  }
  return out;
}

inline Normalizer read_normalizer(const JsonValue& step) {
  const std::string& type = step["type"].text();
  const auto needs_tables = [&] { require_unicode("the normalizer " + type, step.place()); };
  static constexpr std::pair<const char*, UnicodeForm> forms[] = {
      {"NFC", UnicodeForm::nfc}, {"NFD", UnicodeForm::nfd}, {"NFKC", UnicodeForm::nfkc}, {"NFKD", UnicodeForm::nfkd}};
  for (const auto& [name, form] : forms) {
    if (type == name) return needs_tables(), normalizers::form(form);
  }
  if (type == "Lowercase") return needs_tables(), normalizers::lowercase();
  if (type == "BertNormalizer") {
    const bool lowercase = step.flag_or("lowercase", true);
    return needs_tables(), normalizers::bert({step.flag_or("clean_text", true),
                                              step.flag_or("handle_chinese_chars", true),
                                              step.flag_or("strip_accents", lowercase), lowercase});
  }
  if (type == "StripAccents") return needs_tables(), normalizers::strip_accents();
  if (type == "Strip") return normalizers::strip(step["strip_left"].flag(), step["strip_right"].flag());
  if (type == "Prepend") return normalizers::prepend(step["prepend"].text());
  if (type == "Precompiled") {
    needs_tables();
    const JsonValue rules = step["precompiled_charsmap"];
    return normalizers::charsmap(Charsmap(decode_base64(rules.text(), rules.place()), rules.place()));
  }
  if (type == "Replace") {
    const std::string content = step["content"].text();
    return read_pattern(
        step["pattern"], [&](const std::string& text) { return normalizers::replace(text, content); },
        [&](const Regex& regex) { return normalizers::replace(regex, content); });
  }
  refuse(step, "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, BertNormalizer, Strip, Prepend, Precompiled, Replace, "
               "Sequence");
}

inline SplitBehavior read_behavior(const JsonValue& value) {
  static constexpr std::pair<const char*, SplitBehavior> behaviors[] = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous}};
  for (const auto& [name, behavior] : behaviors) {
    if (value.text() == name) return behavior;
  }
  value.expected("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

inline PrependScheme read_scheme(const JsonValue& step) {
  const bool adds = step.flag_or("add_prefix_space", true);  // how older files say it
  const std::string scheme = step.text_or("prepend_scheme", adds ? "always" : "never");
  if (scheme == "always") return PrependScheme::always;
  if (scheme == "first") return PrependScheme::first;
  if (scheme != "never") step["prepend_scheme"].expected("always, first or never");
  return PrependScheme::never;
}

/// Appends the steps of one value of "pre_tokenizer".
inline void read_pre_tokenizer(const JsonValue& step, std::vector<PreTokenizer>& out) {
  const std::string& type = step["type"].text();
  if (type == "ByteLevel") {  // that pieces are bytes is known already
    if (step.flag_or("add_prefix_space", true)) out.push_back(pre_tokenizers::prefix_space());
    if (step.flag_or("use_regex", true))
      out.push_back(pre_tokenizers::split(Regex(pre_tokenizers::gpt2_pattern, step.place()), SplitBehavior::isolated,
                                          false));
  } else if (type == "Split") {
    const SplitBehavior behavior = read_behavior(step["behavior"]);
    const bool invert = step.flag_or("invert", false);
    out.push_back(read_pattern(
        step["pattern"], [&](const std::string& text) { return pre_tokenizers::split(text, behavior, invert); },
        [&](const Regex& regex) { return pre_tokenizers::split(regex, behavior, invert); }));
  } else if (type == "Metaspace") {
    const std::string& mark = step["replacement"].some_text();
    out.push_back(pre_tokenizers::metaspace(mark, read_scheme(step), step.flag_or("split", true)));
  } else if (type == "WhitespaceSplit") {
    out.push_back(pre_tokenizers::whitespace_split());
  } else if (type == "Whitespace") {
    out.push_back(pre_tokenizers::split(Regex(R"(\w+|[^\w\s]+)", step.place()), SplitBehavior::removed, true));
  } else if (type == "Digits") {
    const bool individual = step.flag_or("individual_digits", false);
    out.push_back(pre_tokenizers::split(Regex(R"(\p{N})", step.place()),
                                        individual ? SplitBehavior::isolated : SplitBehavior::contiguous, false));
  } else if (type == "Punctuation") {
    require_unicode("the pre-tokenizer Punctuation", step.place());
    out.push_back(pre_tokenizers::punctuation(step.has("behavior") ? read_behavior(step["behavior"])
                                                                   : SplitBehavior::isolated));
  } else if (type == "BertPreTokenizer") {
    require_unicode("the pre-tokenizer BertPreTokenizer", step.place());
    out.push_back(pre_tokenizers::whitespace_split());
    out.push_back(pre_tokenizers::punctuation(SplitBehavior::isolated));
  } else {
    refuse(step, "ByteLevel, Split, Metaspace, WhitespaceSplit, Whitespace, Digits, Punctuation, BertPreTokenizer, "
                 "Sequence");
  }
}

/// The steps of "decoder"; without one, tokens are joined by blanks.
inline Decoder read_decoder(const JsonValue& decoder) {
  if (decoder.is_null()) return Decoder({decoders::Join{}});
  std::vector<DecodeStep> out;
  bool is_fused = false;
  double growth = 1;
  for (const JsonValue& step : sequence(decoder, "decoders")) {
    const std::string& type = step["type"].text();
    if (is_fused && (type == "Metaspace" || type == "BPEDecoder" || type == "WordPiece"))
      step.fail("expected in front of Fuse, behind which there is one token alone; found behind it");
    if (type == "ByteLevel") {
      out.push_back(decoders::Bytes{});
    } else if (type == "Replace") {
      const std::string content = step["content"].text();
      if (!step["pattern"].has("String")) step["pattern"].fail("expected a String: others cannot be decoded in parts");
      const std::string& pattern = step["pattern"]["String"].some_text();
      growth *= std::max(1.0, static_cast<double>(content.size()) / static_cast<double>(pattern.size()));
      if (growth > 64) step.fail("expected replacements that make texts at most 64 times longer, found others");
      out.push_back(decoders::Replace{pattern, content});
    } else if (type == "ByteFallback") {
      out.push_back(decoders::ByteFallback{});
    } else if (type == "Fuse") {
      is_fused = true;
    } else if (type == "Strip") {
      const std::size_t start = step["start"].count();
      if (step["stop"].count() != 0) step["stop"].fail("expected 0, found another number, which no model here has");
      out.push_back(decoders::Strip{step["content"].some_text(), start, !is_fused, start});
    } else if (type == "BPEDecoder") {
      out.push_back(decoders::WordEnd{step["suffix"].some_text()});
    } else if (type == "WordPiece") {
      out.push_back(decoders::WordPiece{step["prefix"].text(), step["cleanup"].flag()});
    } else if (type == "Metaspace") {
      out.push_back(decoders::Metaspace{step["replacement"].some_text(), read_scheme(step) != PrependScheme::never});
    } else {
      refuse(step, "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, BPEDecoder, WordPiece, Sequence");
    }
  }
  return Decoder(std::move(out));
}

/// What a "post_processor" puts around one text.
struct Surroundings {
  std::vector<TokenId> before, after;
};

/// An id that fits; whether the vocabulary has it, the caller checks.
inline TokenId read_id(const JsonValue& value) {
  if (value.count() > 0x7FFFFFFF) value.fail("expected an id below 2^31, found " + std::to_string(value.count()));
  return static_cast<TokenId>(value.count());
}

/// Appends what one value of "post_processor" adds.
inline void read_post_processor(const JsonValue& step, Surroundings& out) {
  const std::string& type = step["type"].text();
  if (type == "ByteLevel") return;  // changes places only, and ours cover all bytes
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const auto& [key, list] : {std::pair("cls", &out.before), std::pair("sep", &out.after)}) {
      const auto token = step[key].items();
      if (token.size() != 2) step[key].fail("expected a token and its id");
      list->push_back(read_id(token[1]));
    }
    return;
  }
  if (type != "TemplateProcessing")
    refuse(step, "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence");
  bool is_behind = false;
  for (const JsonValue& part : step["single"].items()) {
    if (part.has("Sequence")) {
      if (std::exchange(is_behind, true)) part.fail("expected the text once, found it twice");
      continue;
    }
    const std::string& name = part["SpecialToken"]["id"].text();
    for (const JsonValue& id : step["special_tokens"][name]["ids"].items())
      (is_behind ? out.after : out.before).push_back(read_id(id));
  }
}

}  // namespace calm::text::detail
