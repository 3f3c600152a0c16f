/// \file  What every tokenizer owes, whatever file it came from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "calm/text/tokenizer/tokenizer.hpp"
#include "fuzz/target.hpp"

namespace calm::fuzz {

/// Tokens lie within the text and are numbers of the vocabulary; the stream says what `decode` says.
inline void use(const text::Tokenizer& tokenizer, std::string_view text) {
  const auto tokens = tokenizer.encode(text);
  std::vector<text::TokenId> ids;
  for (const text::Token& token : tokens) {
    check(token.begin <= token.end && token.end <= text.size(), "a token lies within its text");
    ids.push_back(token.id);
  }
  for (const bool shows_special : {false, true}) {
    const std::string whole = tokenizer.decode(ids, shows_special);
    text::TokenStream stream = tokenizer.stream(shows_special);
    std::string_view rest = whole;
    const auto take = [&](const std::string& part) {
      check(rest.starts_with(part), "a stream decodes what decode does");
      rest.remove_prefix(part.size());
    };
    for (const text::TokenId id : ids) take(stream.push(id));
    take(stream.finish());
    check(rest.empty(), "a stream decodes all that decode does");
  }
}

/// Uses `tokenizer` on a few texts and on `text`, repaired.
inline void use_all(const text::Tokenizer& tokenizer, std::string_view text) {
  for (const std::string_view one : {std::string_view(""), std::string_view("a"), std::string_view("  Once upon\n\ta"),
                                     std::string_view("caf\u00e9 e\u0301 \u4e2d\u6587 \U0001F600<s>[UNK] 12,3 don't")})
    accepts([&] { use(tokenizer, one); });
  accepts([&] { use(tokenizer, text::repair_utf8(text)); });
}

}  // namespace calm::fuzz
