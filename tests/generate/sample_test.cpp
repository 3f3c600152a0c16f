#include "calm/generate/sample.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <catch2/catch.hpp>

namespace {

using namespace calm;

/// Σ (found - expected)² / expected of `draws` numbers drawn at `temperature`.
template <std::size_t N>
double chi_square(const std::array<float, N>& logits, double temperature, std::size_t draws) {
  std::array<double, N> expected{}, found{};
  double total = 0;
  for (std::size_t i = 0; i < N; ++i) total += expected[i] = std::exp(static_cast<double>(logits[i]) / temperature);
  for (std::size_t d = 0; d < draws; ++d) {
    ++found[static_cast<std::size_t>(sample(logits.data(), N, temperature, {.seed = 3, .stream = 1}, d))];
  }
  double sum = 0;
  for (std::size_t i = 0; i < N; ++i) {
    const double e = expected[i] / total * static_cast<double>(draws);
    sum += (found[i] - e) * (found[i] - e) / e;
  }
  return sum;
}

}  // namespace

TEST_CASE("argmax finds the first of the largest wherever it stands") {
  for (const std::size_t n : {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{200}}) {
    for (std::size_t at = 0; at < n; ++at) {
      std::vector<float> x(n, -1.0f);
      for (std::size_t i = at; i < n; i += 7) x[i] = 2;
      CAPTURE(n, at);
      CHECK(static_cast<std::size_t>(argmax(x.data(), n)) == at);
    }
  }
  const float nan = std::numeric_limits<float>::quiet_NaN(), mixed[] = {-1, nan, 3, nan};
  CHECK(argmax(mixed, 4) == 2);
  CHECK(argmax(&mixed[1], 1) == 0);
}

TEST_CASE("of equal logits the first is the greatest") {
  const std::array<float, 5> logits{-2, 3, 1, 3, 3};
  CHECK(argmax(logits.data(), 5) == 1);
  CHECK(argmax(logits.data(), 1) == 0);
}

TEST_CASE("draws are distributed as softmax(logits / temperature)") {
  const std::array<float, 6> logits{0.5f, -1, 2, 0, 1.5f, -2};
  // Five degrees of freedom: one seed in 10^7 lies beyond 41.
  for (const double temperature : {0.5, 1.0, 3.0}) CHECK(chi_square(logits, temperature, 100'000) < 41);
}

TEST_CASE("a draw is a function of the key and the number alone") {
  const std::vector<float> logits(50, 0.0f);
  std::size_t equal = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const Index here = sample(logits.data(), 50, 1.0, {1, 2}, i);
    CHECK(here == sample(logits.data(), 50, 1.0, {1, 2}, i));
    equal += here == sample(logits.data(), 50, 1.0, {1, 3}, i);
    equal += here == sample(logits.data(), 50, 1.0, {2, 2}, i);
  }
  CHECK(equal < 40);  // 8 by chance
}

TEST_CASE("what is impossible is never drawn, and a low temperature draws the greatest") {
  constexpr float never = -std::numeric_limits<float>::infinity();
  const std::array<float, 4> logits{never, 1e4f, 1e4f - 1, never};
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const Index drawn = sample(logits.data(), 4, 1.0, {5, 5}, i);
    CHECK((drawn == 1 || drawn == 2));
    CHECK(sample(logits.data(), 4, 1e-3, {5, 5}, i) == 1);
  }
}

TEST_CASE("options with a temperature alone draw the same tokens as `sample`, bit for bit") {
  const std::vector<Index> text{1, 2};
  for (std::uint64_t c = 0; c < 2000; ++c) {
    std::vector<float> logits(40);
    for (std::size_t v = 0; v < logits.size(); ++v) logits[v] = 4 * random_normal({9, c}, v);
    const double temperature = 0.1 + 2 * static_cast<double>(random_uniform({9, c}, 999));
    const RandomKey key{c, 3};
    CHECK(choose(logits.data(), 40, text, {.temperature = temperature}, key, c) ==
          sample(logits.data(), 40, temperature, key, c));
    CHECK(choose(logits.data(), 40, text, {}, key, c) == argmax(logits.data(), 40));
    CHECK(choose(logits.data(), 40, text, {.temperature = 1, .top_k = 1}, key, c) == argmax(logits.data(), 40));
  }
}

TEST_CASE("the repetition penalty turns greedy decoding away from what was said") {
  const std::array<float, 4> logits{1, 3, 2.5f, -1};
  const std::vector<Index> text{1, 1, 3};
  CHECK(choose(logits.data(), 4, text, {}, {}, 0) == 1);
  CHECK(choose(logits.data(), 4, text, {.repetition_penalty = 1.1}, {}, 0) == 1);
  CHECK(choose(logits.data(), 4, text, {.repetition_penalty = 1.3}, {}, 0) == 2);
}

TEST_CASE("scores that are no numbers are refused") {
  const std::array<float, 3> nan{0, std::nanf(""), 1}, inf{0, std::numeric_limits<float>::infinity(), 1};
  const std::vector<Index> text{0};
  const GenerateOptions drawn{.temperature = 1};
  CHECK_THROWS_WITH(choose(nan.data(), 3, text, drawn, {}, 0), Catch::Contains("a score is not a number"));
  CHECK_THROWS_WITH(choose(inf.data(), 3, text, drawn, {}, 0), Catch::Contains("a score is infinite"));
  CHECK_THROWS_WITH(log_sum_exp(nan.data(), 3), Catch::Contains("the model's logits give") && Catch::Contains("nan"));
}

TEST_CASE("the most likely token is the first of the largest logits; a NaN is none, but in front") {
  std::vector<float> logits(77);
  for (std::size_t at = 0; at < logits.size(); ++at) {
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7) - 9;
    logits[at] = logits.back() = 0;
    if (at > 1) logits[at - 1] = std::nanf("");
    CHECK(argmax(logits.data(), logits.size()) == static_cast<Index>(at));
  }
  logits[0] = std::nanf("");
  CHECK(argmax(logits.data(), logits.size()) == 0);
}
