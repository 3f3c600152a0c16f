#include "tools/convert/tokenizer_json.hpp"

#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/tokenizer/load.hpp"
#include "io/temporary_folder.hpp"
#include "text/test_data.hpp"

namespace {

using namespace calm;
using Catch::Contains;

/// Words of the stories, digits, blanks in a row, and characters that have no piece.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts{"Once", " upon", " a",     " time", "Lily", "\n", " ",   "  ",
                                              ",",    "x",     "\"",     "7",     "“",    "ß",  "日",  "😀",
                                              "\t",   "é",     "<0x41>", "the",   "ing"};
  std::string text;
  for (std::size_t n = random() % 12; n > 0; --n) text += parts[random() % parts.size()];
  return text;
}

}  // namespace

TEST_CASE("llama2c's tokenizer is the same as tokenizer.json, behind a BOS") {
  const auto file = test::find_test_data("stories260K/tok512.bin");
  if (!file) {
    WARN("skipped: no stories260K in the folder of test data; set CALM_TEST_DATA");
    return;
  }
  const test::TemporaryFolder folder;
  convert::convert_llama2c_tokenizer(*file, folder / "model");
  const auto expected = text::load_llama2c(*file), found = text::load_tokenizer(folder / "model");
  REQUIRE(found.size() == 512);
  CHECK(found.ids("Once upon a time") == std::vector<text::TokenId>{1, 403, 407, 261, 378});
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random);
    const auto ids = expected.ids(text);
    INFO(text);
    REQUIRE(found.ids(text, text::Template::leave) == ids);
    REQUIRE(found.decode(ids) == expected.decode(ids));
  }
}

TEST_CASE("a tokenizer of digits reads these and nothing else") {
  const test::TemporaryFolder folder;
  convert::write_digit_tokenizer(3, folder / "model");
  const auto tokenizer = text::load_tokenizer(folder / "model");
  CHECK(tokenizer.size() == 3);
  const auto tokens = tokenizer.encode("Sort 2 013:");
  REQUIRE(tokens.size() == 3);
  CHECK(tokenizer.ids("Sort 2 013:") == std::vector<text::TokenId>{2, 0, 1});
  CHECK(tokens[1].begin == 7);
  CHECK(tokens[1].end == 8);
  CHECK(tokenizer.decode(std::vector<text::TokenId>{2, 0, 1}) == "201");
  CHECK_THROWS_WITH(convert::write_digit_tokenizer(11, folder / "model"), Contains("11 tokens"));
  CHECK_THROWS_WITH(convert::write_digit_tokenizer(0, folder / "model"), Contains("0 tokens"));
}
