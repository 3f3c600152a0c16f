#include "calm/text/tokenize_13a.hpp"

#include <cctype>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/utf8.hpp"

using namespace calm::text;

namespace {

std::string tokens(std::string_view text) {
  std::string out;
  const std::string spaced = tokenize_13a(text);
  for (const auto word : split_at_space(spaced)) out += (out.empty() ? "" : " ") + std::string(word);
  return out;
}

}  // namespace

TEST_CASE("13a: tokens are those of mteval-v13a") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {"Hello, world!", "Hello , world !"},
      {"It costs $3.50, or 1,000.", "It costs $ 3.50 , or 1,000 ."},
      {"don't (stop) 'tis", "don't ( stop ) 'tis"},
      {"1990-2000 well-known -5 5-", "1990 - 2000 well-known -5 5 -"},
      {"U.S. v1.2", "U . S . v1.2"},
      {"&quot;a&quot; &lt;b&gt; &amp;lt; &nbsp;", "\" a \" < b > < & nbsp ;"},
      {"a <skipped>b", "a b"},
      {"hyphen-\nated line\nend", "hyphenated line end"},
      {"a..b", "a . . b"},
      {"\u4e2d.\u6587,\uff11.\uff12", "\u4e2d . \u6587 , \uff11 . \uff12"},  // full-width digits are none
      {"100% #1 a/b x@y", "100 % # 1 a / b x @ y"},
  };
  for (const auto& [text, expected] : cases) CHECK(tokens(text) == expected);
}

TEST_CASE("13a: each ASCII mark but ' and - is a word of its own") {
  for (char c = '!'; c <= '~'; ++c) {
    const bool stays = std::isalnum(static_cast<unsigned char>(c)) || c == '\'' || c == '-';
    CAPTURE(c);
    CHECK(tokens(std::string("a") + c + "b") == (stays ? std::string("a") + c + "b" : std::string("a ") + c + " b"));
  }
}
