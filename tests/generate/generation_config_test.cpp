#include "calm/generate/generation_config.hpp"

#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using Catch::Contains;

GenerateOptions read(std::string_view text, GenerateOptions options = {}) {
  const test::TemporaryFolder folder;
  test::put_contents(folder / "generation_config.json", text);
  return read_generation_config(folder / "generation_config.json", std::move(options));
}

void check_refused(std::string_view text, const std::string& field) {
  INFO(text);
  CHECK_THROWS_WITH(read(text), Contains("generation_config.json: '" + field + "'"));
}

}  // namespace

TEST_CASE("a file of a chat model says how to draw and where to end") {
  const auto o = read(R"({"bos_token_id": 1, "pad_token_id": 1, "do_sample": true, "eos_token_id": [7, 9],
    "repetition_penalty": 1.05, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "transformers_version": "4.37.0"})");
  CHECK(o.temperature == 0.7);
  CHECK(o.top_p == 0.8);
  CHECK(o.top_k == 20);
  CHECK(o.min_p == 0);
  CHECK(o.repetition_penalty == 1.05);
  CHECK(o.end_tokens == std::vector<Index>{7, 9});
}

TEST_CASE("the file comes before the defaults, and what it leaves out stays") {
  GenerateOptions own;
  own.max_new_tokens = 5;
  own.end_tokens = {3};
  own.seed = 11;
  const auto o = read(R"({"eos_token_id": 2, "stop_strings": "\n\n", "max_length": 4096})", own);
  CHECK(o.max_new_tokens == 5);
  CHECK(o.seed == 11);
  CHECK(o.end_tokens == std::vector<Index>{2});
  CHECK(o.stop_strings == std::vector<std::string>{"\n\n"});
  CHECK(read("{}", own).end_tokens == std::vector<Index>{3});
  CHECK(read(R"({"max_new_tokens": 9})", own).max_new_tokens == 9);
}

TEST_CASE("without do_sample a model decodes greedily; with it alone, as transformers draws") {
  const auto greedy = read(R"({"temperature": 0.6, "top_p": 0.9, "top_k": 10})");
  CHECK(greedy.temperature == 0);
  CHECK(greedy.top_k == 0);
  const auto drawn = read(R"({"do_sample": true})");
  CHECK(drawn.temperature == 1);
  CHECK(drawn.top_k == 50);
  CHECK(read(R"({"do_sample": true, "top_k": null})").top_k == 0);
  CHECK(read(R"({"do_sample": true, "min_p": 0.1})").min_p == 0.1);
}

TEST_CASE("policies that calm lacks are refused unless they do nothing") {
  CHECK_NOTHROW(read(R"({"typical_p": 1.0, "num_beams": 1, "no_repeat_ngram_size": 0, "length_penalty": 1.0})"));
  check_refused(R"({"no_repeat_ngram_size": 3})", "no_repeat_ngram_size");
  check_refused(R"({"num_beams": 4})", "num_beams");
  check_refused(R"({"watermarking_config": {}})", "watermarking_config");
  check_refused(R"({"suppress_tokens": [1]})", "suppress_tokens");
  check_refused(R"({"do_sample": true, "top_p": 1.5})", "top_p");
  check_refused(R"({"temperature": -1})", "temperature");
  check_refused(R"({"eos_token_id": -1})", "eos_token_id");
  check_refused(R"({"eos_token_id": ["x"]})", "eos_token_id");
  check_refused(R"({"stop_strings": [""]})", "stop_strings");
  check_refused(R"({"repetition_penalty": 0})", "repetition_penalty");
}
