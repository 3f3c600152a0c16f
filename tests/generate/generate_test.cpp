#include "calm/generate/generate.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using Prompts = std::vector<std::vector<Index>>;

/// A model of random weights: a plain transformer of either kind, or the composition of both.
template <class Model>
std::unique_ptr<Model> make_model() {
  if constexpr (requires(Model m) { m.bridges; }) {
    return make_small<Model>(true);
  } else {
    auto m = std::make_unique<Model>();
    nn::initialise(*m, {.seed = 4, .deviation = 0.3});
    return m;
  }
}

/// The logits behind the last token of `text`, by a forward pass over all of it.
template <class Model>
std::vector<float> next_of(const Model& model, const std::vector<Index>& text) {
  const auto tokens = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, text.size()), text.data());
  return row(value(model.logits(tokens, whole(1, text.size()))), 0, text.size() - 1);
}

template <class Model>
std::vector<Index> greedy_without_caches(const Model& model, std::vector<Index> text, std::size_t count) {
  std::vector<Index> output;
  for (std::size_t i = 0; i < count; ++i) {
    const auto logits = next_of(model, text);
    output.push_back(argmax(logits.data(), logits.size()));
    text.push_back(output.back());
  }
  return output;
}

const Prompts ragged{{1, 2, 3}, {4, 5, 6, 7, 8, 9, 10}, {11}, {12, 12, 0, 15}};

using Llama = SmallAnchor<float>;
using Gpt2 = SmallAugment<float>;
using Composed = Small<float>;

}  // namespace

TEMPLATE_TEST_CASE("greedy decoding in a ragged batch equals each prompt alone, and decoding without caches", "", Llama,
                   Gpt2, Composed) {
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
  const auto found = generate(*m, std::span(ragged), {.max_new_tokens = 12, .end_token = end});
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
  const auto logits = next_of(*m, ragged[0]);
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
