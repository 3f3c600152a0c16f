#include "tools/generate/continue.hpp"

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/generate/generate.hpp"
#include "calm/nn/initialise.hpp"
#include "calm/nn/transformer.hpp"
#include "calm/text/tokenizer/load.hpp"
#include "io/temporary_folder.hpp"
#include "tools/convert/tokenizer_json.hpp"

using namespace calm;

namespace {

struct Digits {
  static constexpr nn::TransformerConfig config{.vocab = 10, .hidden = 16, .layers = 1, .heads = 2, .context = 24};
};

/// What is written to the standard output meanwhile.
class Captured {
 public:
  Captured() : before_(std::cout.rdbuf(text_.rdbuf())) {}
  ~Captured() { std::cout.rdbuf(before_); }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::streambuf* before_;
};

struct Subject {
  test::TemporaryFolder folder;
  nn::Transformer<Digits, float, Cpu> model;
  programs::Ends ends{};
  text::Tokenizer tokenizer = (convert::write_digit_tokenizer(10, folder / "m"), text::load_tokenizer(folder / "m"));

  Subject() { nn::initialise(model, {.seed = 3, .deviation = 0.5}); }

  std::string said(const std::vector<std::string>& prompts, const programs::GenerateSettings& settings) {
    const Captured captured;
    programs::Continuer go_on(model, tokenizer, settings, programs::options_of(settings, folder / "m", ends));
    std::vector<std::vector<Index>> tokens;
    for (const auto& prompt : prompts) tokens.push_back(programs::tokens_of(tokenizer, ends, prompt));
    go_on(tokens);
    return captured.text();
  }
};

}  // namespace

TEST_CASE("what the call says comes before generation_config.json, and that before the defaults") {
  const test::TemporaryFolder folder;
  test::put_contents(
      folder / "generation_config.json",
      R"({"do_sample": true, "temperature": 0.5, "top_k": 7, "eos_token_id": [4], "max_new_tokens": 9})");
  const std::string directory = (folder / "").substr(0, (folder / "").size() - 1);
  programs::GenerateSettings settings;
  settings.top_k = 3;
  settings.ends = {5};
  const auto options = programs::options_of(settings, directory, {{}, {2}});
  CHECK(options.temperature == 0.5);
  CHECK(options.top_k == 3);
  CHECK(options.top_p == 1);
  CHECK(options.max_new_tokens == 9);
  CHECK(options.end_tokens == std::vector<Index>{4, 5});
  CHECK(programs::options_of(settings, folder / "none", {{}, {2}}).end_tokens == std::vector<Index>{2, 5});
}

TEST_CASE("one prompt is printed with what follows, several one after the other") {
  Subject subject;
  programs::GenerateSettings settings;
  settings.max_new_tokens = 5;
  const auto digits = [&](std::vector<Index> prompt) {
    std::string text;
    for (const Index token : generate(subject.model, prompt, {.max_new_tokens = 5})) text += std::to_string(token);
    return text;
  };
  CHECK(subject.said({"12"}, settings) == "12" + digits({1, 2}) + "\n");
  CHECK(subject.said({"12", "3", "405"}, settings) ==
        "12" + digits({1, 2}) + "\n3" + digits({3}) + "\n405" + digits({4, 0, 5}) + "\n");
  settings.together = 2;
  settings.hides_prompt = true;
  CHECK(subject.said({"12", "3", "405"}, settings) ==
        digits({1, 2}) + "\n" + digits({3}) + "\n" + digits({4, 0, 5}) + "\n");
}

TEST_CASE("a line of JSON says what came of a prompt") {
  Subject subject;
  programs::GenerateSettings settings;
  settings.json = settings.log_probabilities = true;
  settings.max_new_tokens = 6;
  const auto expected = complete(subject.model, {1, 2}, {.max_new_tokens = 6, .log_probabilities = true});
  auto line = nlohmann::json::parse(subject.said({"12"}, settings));
  CHECK(line["prompt"] == "12");
  CHECK(line["tokens"] == expected.tokens);
  CHECK(line["log_probabilities"] == expected.log_probabilities);
  CHECK(line["finish"] == "length");
  settings.stops = {std::to_string(expected.tokens[2])};
  line = nlohmann::json::parse(subject.said({"12"}, settings));
  CHECK(line["finish"] == "stop_string");
  CHECK(line["completion"].get<std::string>().size() == line["tokens"].size());
  CHECK(line["tokens"].size() <= 2);
  settings.stops.clear();
  settings.ends = {expected.tokens[0]};
  CHECK(nlohmann::json::parse(subject.said({"12"}, settings))["finish"] == "end_token");
}

TEST_CASE("without a number of new tokens there are as many as fit") {
  Subject subject;
  programs::GenerateSettings settings;
  settings.hides_prompt = true;
  CHECK(subject.said({"01234567890123456789"}, settings).size() == 5 + 1);  // the last has no place in the caches
  CHECK_THROWS_WITH(subject.said({"0123456789012345678901234"}, settings), Catch::Contains("context is 24"));
}
