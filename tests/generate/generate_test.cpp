#include "calm/generate/generate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "generate/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;

template <class Model>
std::vector<Index> greedy_without_caches(const Model& model, std::vector<Index> text, std::size_t count) {
  std::vector<Index> output;
  const std::size_t prompt = text.size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto logits = next_of(model, text, prompt);
    output.push_back(argmax(logits.data(), logits.size()));
    text.push_back(output.back());
  }
  return output;
}

/// log softmax(logits)[token]
double log_probability(const std::vector<float>& logits, Index token) {
  double sum = 0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l));
  return static_cast<double>(logits[static_cast<std::size_t>(token)]) - std::log(sum);
}

}  // namespace

TEMPLATE_TEST_CASE("greedy decoding in a ragged batch equals each prompt alone, and decoding without caches", "", Llama,
                   Gpt2, Composed, PrefixComposed, EncoderComposed) {
  const auto m = make_model<TestType>();
  const auto found = generate(*m, std::span(ragged), {.max_new_tokens = 12});
  REQUIRE(found.size() == ragged.size());
  for (std::size_t b = 0; b < ragged.size(); ++b) {
    CHECK(found[b] == generate(*m, ragged[b], {.max_new_tokens = 12}));
    CHECK(found[b] == greedy_without_caches(*m, ragged[b], 12));
  }
}

TEMPLATE_TEST_CASE("the end token stops its own text alone and is left out", "", Llama, Gpt2, Composed) {
  const auto m = make_model<TestType>();
  const auto free = generate(*m, std::span(ragged), {.max_new_tokens = 12});
  const Index end = free[0][5];
  const auto found = generate(*m, std::span(ragged), {.max_new_tokens = 12, .end_tokens = {end}});
  CHECK(found[0].size() <= 5);
  for (std::size_t b = 0; b < ragged.size(); ++b) {
    CHECK(found[b] == std::vector<Index>(free[b].begin(), std::find(free[b].begin(), free[b].end(), end)));
  }
}

TEMPLATE_TEST_CASE("a draw at a temperature follows the seed, the place in the batch and the step", "", Llama,
                   Composed) {
  const auto m = make_model<TestType>();
  const GenerateOptions options{.max_new_tokens = 20, .temperature = 2, .seed = 11};
  const auto found = generate(*m, std::span(ragged), options);
  CHECK(found == generate(*m, std::span(ragged), options));
  CHECK(found[0] == generate(*m, ragged[0], options));  // the first place of a batch of one
  auto other = options;
  other.seed = 12;
  CHECK(found[0] != generate(*m, ragged[0], other));

  const Prompts twins{ragged[0], ragged[0]};
  const auto drawn = generate(*m, std::span(twins), options);
  CHECK(drawn[0] == found[0]);
  CHECK(drawn[1] != found[0]);
}

TEST_CASE("tokens are drawn from the model's own distribution") {
  const auto m = make_model<Composed>();
  const std::size_t draws = 4000;
  const Prompts prompts(draws, ragged[0]);
  const auto logits = next_of(*m, ragged[0], 3);
  for (const double temperature : {1.0, 4.0}) {
    std::vector<double> found(16, 0.0), share(16);
    for (const auto& text : generate(*m, std::span(prompts), {.max_new_tokens = 1, .temperature = temperature}))
      ++found[static_cast<std::size_t>(text.at(0))];
    double total = 0, chi_square = 0;
    for (std::size_t v = 0; v < 16; ++v) total += share[v] = std::exp(static_cast<double>(logits[v]) / temperature);
    for (std::size_t v = 0; v < 16; ++v) {
      const double e = share[v] / total * static_cast<double>(draws);
      chi_square += (found[v] - e) * (found[v] - e) / e;
    }
    CHECK(chi_square < 65);  // fifteen degrees of freedom: one seed in 10^7 lies beyond
  }
}

TEST_CASE("a text may fill the context to its last token and no further") {
  const auto m = make_model<Composed>();
  constexpr std::size_t context = AnchorSpec::config.context;
  const std::vector<Index> prompt(5, 3);
  // The last token is only ever written, so it needs no place of its own.
  const auto full = generate(*m, prompt, {.max_new_tokens = context - 4});
  CHECK(full == greedy_without_caches(*m, prompt, context - 4));
  CHECK(generate(*m, prompt, {.max_new_tokens = 0}).empty());
  CHECK_THROWS_WITH(generate(*m, prompt, {.max_new_tokens = context - 3}),
                    Contains("prompt 0 has 5 tokens and 29 new ones are asked for; the model's context is 32 tokens"));
  CHECK_THROWS_WITH(generate(*m, prompt, {.max_new_tokens = std::numeric_limits<std::size_t>::max()}),
                    Contains("context is 32 tokens"));
}

TEMPLATE_TEST_CASE("prompts that cannot be continued are named, with what was expected", "", Gpt2, Composed) {
  const auto m = make_model<TestType>();
  const auto continued = [&](const Prompts& p) { return generate(*m, std::span(p), {.max_new_tokens = 4}); };
  CHECK_THROWS_WITH(continued({}), "calm::generate: an empty batch; expected at least one prompt");
  CHECK_THROWS_WITH(continued({{1}, {}}), "calm::generate: prompt 1 is empty; expected at least one token");
  CHECK_THROWS_WITH(continued({{1}, {2}, std::vector<Index>(40, 1)}),
                    Contains("prompt 2 has 40 tokens and 4 new ones") && Contains("context is 32 tokens"));
  CHECK_THROWS_WITH(continued({{1, 2}, {3, 16}}), Contains("token 16 at [1, 1] is outside the vocabulary of 16"));
  CHECK_THROWS_WITH(continued({{1, -1}}), Contains("token -1 at [0, 1] is outside the vocabulary of 16"));
  CHECK_THROWS_AS(continued({{1, 16}}), Error);
}

TEMPLATE_TEST_CASE("a completion says why each text ended", "", Llama, Composed) {
  const auto m = make_model<TestType>();
  const auto free = generate(*m, std::span(ragged), {.max_new_tokens = 12});
  const std::vector<Index> ends{free[0][3], free[1][7]};
  const std::vector<Index> sequence{free[2][1], free[2][2], free[2][3]};
  const auto found = complete(*m, std::span(ragged),
                              {.max_new_tokens = 12, .end_tokens = ends, .stop_sequences = {sequence}});
  bool stopped = false;
  for (std::size_t b = 0; b < ragged.size(); ++b) {
    const auto end = std::find_first_of(free[b].begin(), free[b].end(), ends.begin(), ends.end());
    const auto stop = std::search(free[b].begin(), free[b].end(), sequence.begin(), sequence.end());
    const bool by_stop = stop != free[b].end() && end - stop >= 3;
    CHECK(found[b].tokens == std::vector<Index>(free[b].begin(), by_stop ? stop : end));
    CHECK(found[b].finish == (by_stop               ? Finish::stop_sequence
                              : end != free[b].end() ? Finish::end_token
                                                     : Finish::length));
    CHECK(found[b].log_probabilities.empty());
    CHECK(found[b].text.empty());
    stopped = stopped || by_stop;
  }
  CHECK(stopped);
}

TEST_CASE("a stop string may end in the middle of a token; text keeps the bytes before it") {
  const auto m = make_model<Composed>();
  const auto free = generate(*m, ragged[0], {.max_new_tokens = 6});
  // Every token is its number and a semicolon.
  const auto text_of = [](Index t) { return "<" + std::to_string(t) + ">"; };
  const std::string third = std::to_string(free[2]);
  const auto found = complete(*m, ragged[0], {.max_new_tokens = 6,
                                              .stop_strings = {"><" + third + ">"},
                                              .text_of = text_of,
                                              .log_probabilities = true});
  CHECK(found.finish == Finish::stop_string);
  CHECK(found.tokens == std::vector<Index>{free[0]});  // the second token's last byte belongs to the stop
  CHECK(found.text == text_of(free[0]) + "<" + std::to_string(free[1]));
  CHECK(found.log_probabilities.size() == 1);
  const auto whole_text = complete(*m, ragged[0], {.max_new_tokens = 2, .text_of = text_of});
  CHECK(whole_text.text == text_of(free[0]) + text_of(free[1]));
}

TEMPLATE_TEST_CASE("log-probabilities are the model's own, whatever policy draws", "", Llama, Composed) {
  const auto m = make_model<TestType>();
  const GenerateOptions options{.max_new_tokens = 10,
                                .temperature = 2,
                                .top_k = 9,
                                .top_p = 0.9,
                                .repetition_penalty = 1.5,
                                .seed = 5,
                                .log_probabilities = true,
                                .alternatives = 4};
  const auto found = complete(*m, std::span(ragged), options);
  for (std::size_t b = 0; b < ragged.size(); ++b) {
    const auto& c = found[b];
    REQUIRE(c.tokens.size() == 10);
    REQUIRE(c.log_probabilities.size() == 10);
    REQUIRE(c.alternatives.size() == 10);
    auto text = ragged[b];
    for (std::size_t i = 0; i < 10; ++i) {
      const auto logits = next_of(*m, text, ragged[b].size());
      CHECK(c.log_probabilities[i] == Approx(log_probability(logits, c.tokens[i])).margin(1e-4));
      REQUIRE(c.alternatives[i].size() == 4);
      CHECK(c.alternatives[i][0].token == argmax(logits.data(), logits.size()));
      for (std::size_t a = 0; a < 4; ++a) {
        const auto& [token, score] = c.alternatives[i][a];
        CHECK(score == Approx(log_probability(logits, token)).margin(1e-4));
        if (a > 0) CHECK(score <= c.alternatives[i][a - 1].log_probability);
      }
      text.push_back(c.tokens[i]);
    }
  }
}

TEST_CASE("a callback hears every token of the output once and in order, and may end a text") {
  const auto m = make_model<Composed>();
  const auto free = complete(*m, std::span(ragged), {.max_new_tokens = 10, .log_probabilities = true});
  std::vector<std::vector<Index>> heard(ragged.size());
  GenerateOptions options{.max_new_tokens = 10};
  options.on_token = [&](const TokenEvent& e) {
    CHECK(e.place == heard[e.text].size());
    CHECK(e.log_probability == Approx(free[e.text].log_probabilities[e.place]).margin(2e-5));
    heard[e.text].push_back(e.token);
    return e.text != 1 || e.place < 3;
  };
  auto found = complete(*m, std::span(ragged), options);
  for (std::size_t b = 0; b < ragged.size(); ++b) {
    CHECK(heard[b] == found[b].tokens);
    CHECK(found[b].finish == (b == 1 ? Finish::caller : Finish::length));
    CHECK(found[b].tokens == std::vector<Index>(free[b].tokens.begin(), free[b].tokens.begin() + (b == 1 ? 4 : 10)));
  }

  // What may still begin a stop is not announced.
  heard.assign(1, {});
  options.stop_sequences = {{free[0].tokens[2], free[0].tokens[3], free[0].tokens[4]}};
  found = {complete(*m, ragged[0], options)};
  CHECK(found[0].finish == Finish::stop_sequence);
  CHECK(found[0].tokens.size() <= 2);
  CHECK(heard[0] == found[0].tokens);
}

TEST_CASE("a policy of the caller's comes before all others, greedy decoding included") {
  const auto m = make_model<Llama>();
  const auto ban = [](std::span<double> scores, std::span<const Index> text) {
    for (const Index t : text) scores[static_cast<std::size_t>(t)] = impossible;  // every token once
  };
  for (const double temperature : {0.0, 1.0}) {
    auto text = joined({0}, generate(*m, {0}, {.max_new_tokens = 15, .temperature = temperature, .policy = ban}));
    std::sort(text.begin(), text.end());
    for (std::size_t v = 0; v < 16; ++v) CHECK(text[v] == static_cast<Index>(v));
    CHECK_THROWS_WITH(generate(*m, {0}, {.max_new_tokens = 16, .temperature = temperature, .policy = ban}),
                      Contains("the policy leaves no token possible; expected at least one"));
  }
}

TEST_CASE("options that mean nothing are named, with what was expected and found") {
  const auto m = make_model<Llama>();
  const auto with = [&](const GenerateOptions& options) { return generate(*m, {1, 2}, options); };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(with({.temperature = -1}), Contains("temperature is -1") && Contains("expected 0 (greedy) or a"));
  CHECK_THROWS_WITH(with({.temperature = nan}), Contains("temperature is nan"));
  CHECK_THROWS_WITH(with({.top_p = 0}), Contains("top_p is 0.0") && Contains("expected a number in (0, 1]"));
  CHECK_THROWS_WITH(with({.top_p = 1.5}), Contains("top_p is 1.5") && Contains("expected a number in (0, 1]"));
  CHECK_THROWS_WITH(with({.min_p = -0.25}), Contains("min_p is -0.25") && Contains("expected a number in [0, 1]"));
  CHECK_THROWS_WITH(with({.repetition_penalty = 0}),
                    Contains("repetition_penalty is 0.0") && Contains("expected a finite number above 0"));
  CHECK_THROWS_WITH(with({.end_tokens = {3, 16}}), Contains("end token 16 is outside the vocabulary of 16"));
  CHECK_THROWS_WITH(with({.stop_sequences = {{1}, {}}}),
                    "calm::generate: stop sequence 1 is empty; expected at least one token");
  CHECK_THROWS_WITH(with({.stop_strings = {""}, .text_of = [](Index) { return std::string("x"); }}),
                    "calm::generate: stop string 0 is empty; expected at least one byte");
  CHECK_THROWS_WITH(with({.stop_strings = {"x"}}),
                    "calm::generate: stop strings without text_of; expected a function from a token to its bytes");
  CHECK_THROWS_WITH(with({.alternatives = 17}),
                    Contains("17 alternatives are asked for; the vocabulary has 16 tokens"));
  CHECK_THROWS_AS(with({.top_p = nan}), Error);
}
