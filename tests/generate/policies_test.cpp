#include "calm/generate/policies.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "calm/generate/sample.hpp"
#include "calm/tensor/philox.hpp"

namespace {

using namespace calm;

std::vector<double> softmax(const std::vector<double>& scores) {
  const double top = *std::max_element(scores.begin(), scores.end());
  std::vector<double> p(scores.size());
  double total = 0;
  for (std::size_t i = 0; i < p.size(); ++i) total += p[i] = std::exp(scores[i] - top);
  for (double& x : p) x /= total;
  return p;
}

/// The distribution that options draw from, token by token from each policy's definition.
std::vector<double> by_definition(std::vector<double> scores, const std::vector<Index>& text,
                                  const GenerateOptions& o) {
  const std::size_t n = scores.size();
  for (std::size_t v = 0; v < n; ++v) {
    const bool seen = std::count(text.begin(), text.end(), static_cast<Index>(v)) > 0;
    if (seen) scores[v] *= scores[v] > 0 ? 1 / o.repetition_penalty : o.repetition_penalty;
  }
  for (double& s : scores) s /= o.temperature;
  const auto drop = [&](auto stays) {
    const auto p = softmax(scores);
    for (std::size_t v = 0; v < n; ++v) {
      if (!stays(p, v)) scores[v] = impossible;
    }
  };
  if (o.top_k > 0) {
    drop([&](const auto& p, std::size_t v) {
      return static_cast<std::size_t>(std::count_if(p.begin(), p.end(), [&](double q) { return q > p[v]; })) < o.top_k;
    });
  }
  if (o.top_p < 1) {
    drop([&](const auto& p, std::size_t v) {
      double before = 0;
      for (std::size_t w = 0; w < n; ++w) before += p[w] > p[v] || (p[w] == p[v] && w < v) ? p[w] : 0;
      return p[v] > 0 && before < o.top_p;
    });
  }
  if (o.min_p > 0) {
    drop([&](const auto& p, std::size_t v) { return p[v] >= o.min_p * *std::max_element(p.begin(), p.end()); });
  }
  return softmax(scores);
}

std::vector<double> by_policies(std::vector<double> scores, const std::vector<Index>& text, const GenerateOptions& o) {
  policies_of(o)(scores, text);
  return softmax(scores);
}

}  // namespace

TEST_CASE("policies leave what their definitions say, over random settings, ties included") {
  constexpr std::size_t vocab = 24;
  std::size_t alone = 0;
  for (std::uint64_t c = 0; c < 3000; ++c) {
    const RandomKey key{17, c};
    const auto uniform = [&](std::uint64_t i) { return static_cast<double>(random_uniform(key, i)); };
    std::vector<double> logits(vocab);
    // Every other case has few distinct scores.
    for (std::size_t v = 0; v < vocab; ++v) {
      const double x = 3 * static_cast<double>(random_normal(key, 50 + v));
      logits[v] = c % 2 ? x : std::round(x);
    }
    std::vector<Index> text(6);
    for (std::size_t t = 0; t < text.size(); ++t) text[t] = static_cast<Index>(random_below(key, 20 + t, vocab));
    const GenerateOptions o{.temperature = 0.2 + 2 * uniform(0),
                            .top_k = uniform(1) < 0.5 ? 0 : static_cast<std::size_t>(random_below(key, 2, vocab + 4)),
                            .top_p = uniform(3) < 0.5 ? 1 : 0.01 + 0.98 * uniform(4),
                            .min_p = uniform(5) < 0.5 ? 0 : uniform(6),
                            .repetition_penalty = uniform(7) < 0.5 ? 1 : 0.5 + 1.5 * uniform(8)};
    const auto expected = by_definition(logits, text, o), found = by_policies(logits, text, o);
    double worst = 0;
    for (std::size_t v = 0; v < vocab; ++v) {
      worst = std::max(worst, std::abs(expected[v] - found[v]));
      if ((expected[v] > 0) != (found[v] > 0)) worst = 1;
    }
    INFO("case " << c);
    CHECK(worst < 1e-12);
    alone += *std::max_element(found.begin(), found.end()) == 1.0;
  }
  CHECK(alone < 1500);  // most cases leave a choice
}

TEST_CASE("policies leave what transformers' own processors leave") {
  std::ifstream in(CALM_FIXTURES "/decoding.json");
  const auto cases = nlohmann::json::parse(in).at("policies");
  REQUIRE(cases.size() == 36);
  for (const auto& c : cases) {
    const auto& s = c.at("settings");
    const GenerateOptions o{.temperature = s.value("temperature", 1.0),
                            .top_k = s.value("top_k", std::size_t{0}),
                            .top_p = s.value("top_p", 1.0),
                            .min_p = s.value("min_p", 0.0),
                            .repetition_penalty = s.value("repetition_penalty", 1.0)};
    const auto text = c.at("text").get<std::vector<Index>>();
    const auto found = by_policies(c.at("logits").get<std::vector<double>>(), text, o);
    INFO(s.dump());
    for (std::size_t v = 0; v < found.size(); ++v) {
      const auto& expected = c.at("log_probabilities").at(v);
      REQUIRE(expected.is_null() == (found[v] == 0));
      if (!expected.is_null()) CHECK(std::log(found[v]) == Approx(expected.get<double>()).epsilon(1e-9).margin(1e-9));
    }
  }
}

TEST_CASE("a policy at its neutral setting changes no score") {
  const std::vector<double> scores{1.5, -2, 0, 3, 3, impossible};
  const std::vector<Index> text{3, 0};
  auto s = scores;
  Chain(RepetitionPenalty{}, TopK{}, TopP{}, MinP{})(s, text);
  CHECK(s == scores);
  TopK{6}(s, text);
  TopK{100}(s, text);
  CHECK(s == scores);
  Chain(TopP{1e-9}, MinP{1}, TopK{1})(s, text);
  CHECK(s == std::vector<double>{impossible, impossible, impossible, 3, impossible, impossible});
}
