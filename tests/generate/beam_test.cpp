#include "calm/generate/beam.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "calm/io/safetensors.hpp"
#include "generate/models.hpp"
#include "support/fixture_llama.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;

/// Three tokens, so that every text can be tried.
struct TinyAnchorSpec {
  static constexpr nn::TransformerConfig config{.vocab = 3, .hidden = 8, .layers = 2, .heads = 2, .context = 12};
};
struct TinyAugmentSpec {
  static constexpr nn::TransformerConfig config{.vocab = 3, .hidden = 4, .layers = 2, .heads = 1, .context = 12};
};
using TinyAnchor = nn::Transformer<TinyAnchorSpec, double, Cpu>;
using TinyAugment = nn::Transformer<TinyAugmentSpec, double, Cpu>;
using TinyComposed = Compose<TinyAnchor, TinyAugment, LayerMap<Link<0, 0>, Link<1, 1>>>;

template <class Logits>
std::vector<double> log_softmax(const Logits& logits) {
  double sum = 0;
  for (const auto l : logits) sum += std::exp(static_cast<double>(l));
  std::vector<double> result;
  for (const auto l : logits) result.push_back(static_cast<double>(l) - std::log(sum));
  return result;
}

/// Every text of up to `max_new` tokens behind `prompt` that token 0 ends or the limit, with its score.
template <class Model>
void try_all(const Model& m, const std::vector<Index>& prompt, std::vector<Index> so_far, double sum,
             std::size_t max_new, double penalty, std::vector<Beam>& all) {
  const auto add = [&](const std::vector<Index>& tokens, double total, std::size_t length, Finish finish) {
    all.push_back({tokens, total / std::pow(static_cast<double>(length), penalty), total, finish});
  };
  if (so_far.size() == max_new) return add(so_far, sum, max_new, Finish::length);
  const auto scores = log_softmax(next_of(m, joined(prompt, so_far), prompt.size()));
  add(so_far, sum + scores[0], so_far.size() + 1, Finish::end_token);
  for (Index t = 1; t < 3; ++t) {
    try_all(m, prompt, joined(so_far, {t}), sum + scores[static_cast<std::size_t>(t)], max_new, penalty, all);
  }
}

/// The log-probability of `tokens` behind `prompt`, without caches.
template <class Model>
double recomputed(const Model& m, const std::vector<Index>& prompt, const std::vector<Index>& tokens) {
  double sum = 0;
  auto text = prompt;
  for (const Index t : tokens) {
    sum += log_softmax(next_of(m, text, prompt.size()))[static_cast<std::size_t>(t)];
    text.push_back(t);
  }
  return sum;
}

}  // namespace

TEMPLATE_TEST_CASE("one beam is greedy decoding", "", Llama, Gpt2, Composed, PrefixComposed, EncoderComposed) {
  const auto m = make_model<TestType>();
  for (const std::vector<Index>& ends : {std::vector<Index>{}, std::vector<Index>{1, 5, 9}}) {
    const auto greedy = complete(*m, std::span(ragged), {.max_new_tokens = 12, .end_tokens = ends});
    for (const EarlyStop stop : {EarlyStop::when_full, EarlyStop::likely}) {
      const auto found =
          beam_search(*m, std::span(ragged), {.max_new_tokens = 12, .beams = 1, .stop = stop, .end_tokens = ends});
      for (std::size_t b = 0; b < ragged.size(); ++b) {
        REQUIRE(found[b].size() == 1);
        CHECK(found[b][0].tokens == greedy[b].tokens);
        CHECK(found[b][0].finish == greedy[b].finish);
      }
    }
  }
}

TEMPLATE_TEST_CASE("beams as wide as the tree find the best of all texts", "", TinyAnchor, TinyComposed) {
  const auto m = make_model<TestType>();
  const std::vector<Index> prompt{1, 0, 2};
  for (const double penalty : {0.0, 1.0, 2.0, -0.5}) {
    std::vector<Beam> all;
    try_all(*m, prompt, {}, 0, 6, penalty, all);
    REQUIRE(all.size() == 63 + 64);
    std::sort(all.begin(), all.end(), [](const Beam& a, const Beam& b) { return a.score > b.score; });
    const auto found = beam_search(
        *m, prompt, {.max_new_tokens = 6, .beams = 200, .length_penalty = penalty, .end_tokens = {0}});
    REQUIRE(found.size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      CHECK(found[i].score == Approx(all[i].score).epsilon(1e-10));
      CHECK(found[i].tokens == all[i].tokens);
      CHECK(found[i].finish == all[i].finish);
    }
  }
}

TEMPLATE_TEST_CASE("a beam carries the caches of its own text", "", Llama, Gpt2, Composed, PrefixComposed,
                   EncoderComposed) {
  const auto m = make_model<TestType>();
  const BeamOptions options{.max_new_tokens = 10, .beams = 5, .length_penalty = 0};
  const auto found = beam_search(*m, std::span(ragged), options);
  for (std::size_t b = 0; b < ragged.size(); ++b) {
    REQUIRE(found[b].size() == 5);
    const auto alone = beam_search(*m, ragged[b], options);
    for (std::size_t i = 0; i < 5; ++i) {
      const Beam& beam = found[b][i];
      CHECK(beam.tokens.size() == 10);
      CHECK(beam.score == beam.log_probability);
      CHECK(beam.log_probability == Approx(recomputed(*m, ragged[b], beam.tokens)).margin(2e-4));
      if (i > 0) CHECK(beam.score <= found[b][i - 1].score);
      CHECK(beam.tokens == alone[i].tokens);
    }
    CHECK(found[b][0].log_probability >=
          recomputed(*m, ragged[b], generate(*m, ragged[b], {.max_new_tokens = 10})) - 2e-4);
  }
}

TEST_CASE("beam search finds what transformers' finds") {
  nn::Transformer<FixtureLlama, float, Cpu> m;
  const auto weights = io::SafetensorsFile::open(CALM_FIXTURES "/models.safetensors");
  nn::for_each_parameter(m, [&](const std::string& path, auto& p) {
    p.assign(weights.load<typename std::remove_cvref_t<decltype(p)>::tensor_type>("llama.w." + path));
  });
  std::ifstream in(CALM_FIXTURES "/decoding.json");
  const auto cases = nlohmann::json::parse(in).at("beams");
  REQUIRE(cases.size() == 27);
  for (const auto& c : cases) {
    INFO(c.dump());
    const std::string stop = c.at("stop");
    const auto found = beam_search(m, c.at("prompt").get<std::vector<Index>>(),
                                   {.max_new_tokens = 8,
                                    .beams = c.at("beams"),
                                    .length_penalty = c.at("length_penalty"),
                                    .stop = stop == "likely"      ? EarlyStop::likely
                                            : stop == "when_full" ? EarlyStop::when_full
                                                                  : EarlyStop::certain,
                                    .end_tokens = c.at("end_tokens").get<std::vector<Index>>()});
    REQUIRE(found.size() == c.at("tokens").size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i].tokens == c.at("tokens").at(i).get<std::vector<Index>>());
      if (!c.at("scores").is_null()) CHECK(found[i].score == Approx(c.at("scores").at(i).get<double>()).epsilon(1e-5));
    }
  }
}

TEST_CASE("a search that means nothing is refused, with what was expected") {
  const auto m = make_model<Composed>();
  const auto with = [&](const BeamOptions& o) { return beam_search(*m, {1, 2}, o); };
  CHECK_THROWS_WITH(with({.beams = 0}), "calm::beam_search: 0 beams; expected at least one");
  CHECK_THROWS_WITH(with({.max_new_tokens = 0}),
                    "calm::beam_search: 0 new tokens are asked for; expected at least one");
  CHECK_THROWS_WITH(with({.max_new_tokens = 4, .length_penalty = std::numeric_limits<double>::infinity()}),
                    Contains("length_penalty is inf; expected a finite number"));
  CHECK_THROWS_WITH(with({.max_new_tokens = 4, .end_tokens = {99}}),
                    "calm::beam_search: end token 99 is outside the vocabulary of 16");
  CHECK_THROWS_WITH(with({.max_new_tokens = 40}),
                    Contains("calm::beam_search: prompt 0 has 2 tokens and 40 new ones are asked for"));
  CHECK_THROWS_WITH(beam_search(*m, {1, 77}, {.max_new_tokens = 2}), Contains("token 77 at [0, 1] is outside"));
}
