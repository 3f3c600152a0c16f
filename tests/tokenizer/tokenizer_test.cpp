// What holds of every tokenizer: places in the text, decoding in parts, special tokens, texts that it refuses.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>

#include "tokenizer/random_strings.hpp"
#include "tokenizer/reference.hpp"

using namespace calm;
using namespace calm::text;
using nlohmann::json;

namespace {

/// Calls check(row, tokenizer) for each tokenizer of the test data.
template <class Check>
void for_each_tokenizer(const Check& check) {
  std::size_t found = 0;
  for (const json& row : test::tokenizer_fixture()["tokenizers"]) {
    const std::string name = row["name"];
    CAPTURE(name);
    if (const auto tokenizer = test::load_reference(row)) check(row, *tokenizer), ++found;
  }
  REQUIRE(found >= 2);  // those whose files are in the repository
}

Tokenizer llama_kind() { return load_tokenizer_json(CALM_FIXTURES "/llama_tokenizer.json"); }

}  // namespace

TEST_CASE("decoding token by token gives the same text, and never a part of a character") {
  const test::RandomStrings strings(test::tokenizer_fixture());
  for_each_tokenizer([&](const json& row, const Tokenizer& tokenizer) {
    bool same = true, whole = true;
    for (std::size_t i = 0; i < 300; ++i) {
      std::vector<TokenId> ids = tokenizer.ids(strings(i, row["bytes"]));
      if (i % 2 == 1) {  // as a model may say them: in any order
        test::SplitMix64 rng(i);
        for (std::size_t k = ids.size(); k > 1; --k) std::swap(ids[k - 1], ids[rng.below(k)]);
      }
      TokenStream stream = tokenizer.stream();
      std::string all;
      for (const TokenId id : ids) {
        const std::string part = stream.push(id);
        whole = whole && find_invalid_utf8(part) == part.npos;
        all += part;
      }
      all += stream.finish();
      same = same && all == tokenizer.decode(ids) && find_invalid_utf8(all) == all.npos;
    }
    CHECK(same);
    CHECK(whole);
  });
}

TEST_CASE("places of tokens lie in the text, in order") {
  const test::RandomStrings strings(test::tokenizer_fixture());
  for_each_tokenizer([&](const json& row, const Tokenizer& tokenizer) {
    bool inside = true, ordered = true;
    for (std::size_t i = 0; i < 300; ++i) {
      const std::string text = strings(i, row["bytes"]);
      std::size_t begin = 0;
      for (const Token& token : tokenizer.encode(text)) {
        inside = inside && token.begin <= token.end && token.end <= text.size();
        // Marks that NFC reorders stand in the order of the normalised text.
        ordered = ordered && (token.begin >= begin || row["name"] == "tiny_bpe");
        begin = token.begin;
      }
    }
    CHECK(inside);
    CHECK(ordered);
  });
}

TEST_CASE("the places of a byte-level tokenizer cut the text into the bytes of its tokens") {
  const test::RandomStrings strings(test::tokenizer_fixture());
  for (const json& row : test::tokenizer_fixture()["tokenizers"]) {
    const std::string name = row["name"];
    if (name != "gpt2" && name != "cl100k" && name != "phi2" && name != "torchtune") continue;
    const auto tokenizer = test::load_reference(row);
    if (!tokenizer) continue;
    CAPTURE(name);
    bool exact = true;
    for (std::size_t i = 0; i < 500; ++i) {
      const std::string text = strings(i, false);
      std::size_t end = 0;
      for (const Token& token : tokenizer->encode(text)) {
        exact = exact && token.begin == end && tokenizer->piece(token.id) == text.substr(end, token.end - end);
        end = token.end;
      }
      exact = exact && end == text.size();
    }
    CHECK(exact);
  }
}

TEST_CASE("places survive normalisation: a blank put in front stands for nothing, replaced ones for themselves") {
  const Tokenizer tokenizer = llama_kind();
  std::vector<std::string> parts;
  const std::string text = "a time \xE4\xB8\xAD";
  for (const Token& token : tokenizer.encode(text))
    parts.push_back(tokenizer.piece(token.id) + ":" + text.substr(token.begin, token.end - token.begin));
  CHECK(parts == std::vector<std::string>{"<s>:", "\xE2\x96\x81" "a:a", "\xE2\x96\x81time: time", "\xE2\x96\x81: ",
                                          "<0xE4>:\xE4", "<0xB8>:\xB8", "<0xAD>:\xAD"});
}

TEST_CASE("WordPiece: the longest piece first, words of the text without accents and capitals, unknown ones whole") {
  const Tokenizer tokenizer = load_tokenizer_json(CALM_FIXTURES "/bert_tokenizer.json");
  const std::string text = "Th\u00c9re, \u4e00x\u2603";  // an ideograph is a word of its own; a snowman has no piece
  const std::vector<std::string> pieces{"[CLS]", "there", ",", "\u4e00", "[UNK]", "[SEP]"};
  const std::vector<std::string> parts{"", "Th\u00c9re", ",", "\u4e00", "x\u2603", ""};
  const auto tokens = tokenizer.encode(text);
  REQUIRE(tokens.size() == pieces.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    CHECK(tokenizer.piece(tokens[i].id) == pieces[i]);
    CHECK(text.substr(tokens[i].begin, tokens[i].end - tokens[i].begin) == parts[i]);
  }
  CHECK(tokenizer.decode(tokenizer.ids("Well, go !")) == "well, go!");
  CHECK(tokenizer.ids(std::string(20, 'a'), Template::leave).size() > 1);
  CHECK(tokenizer.ids(std::string(21, 'a'), Template::leave) == std::vector{tokenizer.find("[UNK]")});
}

TEST_CASE("the template is applied unless it is left, and special tokens are not shown unless asked for") {
  const Tokenizer tokenizer = llama_kind();
  const auto with = tokenizer.ids("a time"), without = tokenizer.ids("a time", Template::leave);
  REQUIRE(with.size() == without.size() + 1);
  CHECK(with[0] == tokenizer.find("<s>"));
  CHECK(std::equal(without.begin(), without.end(), with.begin() + 1));
  CHECK(tokenizer.is_special(with[0]));
  CHECK(tokenizer.decode(with) == "a time");
  CHECK(tokenizer.decode(with, true) == "<s> a time");
  CHECK(tokenizer.find("no such piece") == no_token);
  CHECK(tokenizer.ids("").size() == 1);
}

TEST_CASE("added tokens: of a single word, with the white space around them, in normalised text") {
  const Tokenizer tokenizer = llama_kind();
  const auto has = [&](std::string_view text, TokenId id) {
    const auto ids = tokenizer.ids(text);
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  CHECK(has("a wordy!", 512));
  CHECK_FALSE(has("awordy", 512));
  CHECK_FALSE(has("wordy\xC3\xA9", 512));
  CHECK(has("Once upon", 514));       // with the blank that normalisation puts in front
  CHECK_FALSE(has("(Once upon", 514));
  const auto tokens = tokenizer.encode("a \t<mark>\n b", Template::leave);
  const auto mark = std::find_if(tokens.begin(), tokens.end(), [](const Token& t) { return t.id == 513; });
  REQUIRE(mark != tokens.end());
  CHECK(mark->begin == 1);
  CHECK(mark->end == 11);
}

TEST_CASE("what is no text or no token is refused") {
  const Tokenizer tokenizer = llama_kind();
  CHECK_THROWS_WITH(tokenizer.encode("ab\xFF"), Catch::Contains("invalid byte at 2 of 3"));
  const std::vector<TokenId> wrong{5000}, negative{-1};
  CHECK_THROWS_WITH(tokenizer.decode(wrong), Catch::Contains("found 5000"));
  CHECK_THROWS_WITH(tokenizer.decode(negative), Catch::Contains("found -1"));
  CHECK_THROWS_WITH(tokenizer.piece(515), Catch::Contains("from 0 to 514"));
}
