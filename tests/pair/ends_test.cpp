#include "tools/generate/ends.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/tokenizer/load.hpp"
#include "io/temporary_folder.hpp"
#include "text/test_data.hpp"
#include "tools/convert/tokenizer_json.hpp"

using namespace calm;
using Tokens = std::vector<Index>;

TEST_CASE("end tokens are those of generation_config.json, then of config.json") {
  const test::TemporaryFolder folder;
  const std::string model = folder / "model";
  convert::write_digit_tokenizer(10, model);
  const auto tokenizer = text::load_tokenizer(model);
  CHECK(programs::read_ends(model, tokenizer).end.empty());
  test::put_contents(model + "/config.json", R"({"eos_token_id": 7, "bos_token_id": 3})");
  CHECK(programs::read_ends(model, tokenizer).end == Tokens{7});
  CHECK(programs::read_ends(model, tokenizer).begin.empty());  // the tokenizer's template adds none
  test::put_contents(model + "/generation_config.json", R"({"eos_token_id": [8, 9]})");
  CHECK(programs::read_ends(model, tokenizer).end == Tokens{8, 9});
  test::put_contents(model + "/generation_config.json", R"({"eos_token_id": null})");
  CHECK(programs::read_ends(model, tokenizer).end == Tokens{7});
  test::put_contents(model + "/generation_config.json", R"({"eos_token_id": "x"})");
  CHECK_THROWS_WITH(programs::read_ends(model, tokenizer), Catch::Contains("eos_token_id"));
}

TEST_CASE("texts begin with what the tokenizer's template puts there") {
  const test::TemporaryFolder folder;
  const std::string model = folder / "model";
  convert::write_digit_tokenizer(10, model);
  auto json = nlohmann::json::parse(test::contents_of(model + "/tokenizer.json"));
  json["post_processor"] = nlohmann::json::parse(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "9", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "8", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"9": {"id": "9", "ids": [9], "tokens": ["9"]},
                       "8": {"id": "8", "ids": [8], "tokens": ["8"]}}})");
  test::put_contents(model + "/tokenizer.json", json.dump());
  const auto tokenizer = text::load_tokenizer(model);
  const auto ends = programs::read_ends(model, tokenizer);
  CHECK(ends.begin == Tokens{9});  // and not what it puts behind
  CHECK(programs::tokens_of(tokenizer, ends, "1 2") == Tokens{9, 1, 2});
}

TEST_CASE("a SentencePiece model is read behind a BOS unless its configuration says otherwise") {
  const auto file = test::find_test_data("openllama-tokenizer/tokenizer.model");
  if (!file) {
    WARN("skipped: no openllama-tokenizer in the folder of test data; set CALM_TEST_DATA");
    return;
  }
  const test::TemporaryFolder folder;
  const std::string model = folder / "model";
  std::filesystem::create_directories(model);
  std::filesystem::copy_file(*file, model + "/tokenizer.model");
  test::put_contents(model + "/config.json", R"({"bos_token_id": 1, "eos_token_id": 2})");
  const auto tokenizer = text::load_tokenizer(model);
  CHECK(programs::read_ends(model, tokenizer).begin == Tokens{1});
  test::put_contents(model + "/tokenizer_config.json", R"({"add_bos_token": true})");
  CHECK(programs::read_ends(model, tokenizer).begin == Tokens{1});
  test::put_contents(model + "/tokenizer_config.json", R"({"add_bos_token": false})");
  CHECK(programs::read_ends(model, tokenizer).begin.empty());
}
