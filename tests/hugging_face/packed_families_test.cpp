// What packed matrices cost, on models of transformers: read from their directories, exact in fp32, near in bf16.
#include <cmath>
#include <cstddef>
#include <string>

#include <catch2/catch.hpp>

#include "hugging_face/family_check.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct Cost {
  double logits = 0;  ///< the root of the mean square of their error, as a part of theirs
  double nats = 0;    ///< Kullback-Leibler divergence from the expected next token, per token
  double greedy = 0;  ///< how often the likeliest token is another, as a part
};

template <class Mode, class S>
Cost cost_of(const std::string& name) {
  nn::Transformer<S, float, Cpu, Mode> model;
  io::load(model, family_folder(name));
  const Expected expected(name);
  const auto logits = model.logits(expected.tokens, expected.layout);
  const auto want = expected.file.load<std::remove_cvref_t<decltype(logits)>>("logits");
  constexpr std::size_t vocab = S::config.vocab;
  const std::size_t time = expected.layout.time();
  double off = 0, size = 0, tokens = 0;
  Cost cost;
  for (std::size_t t = 0; t < expected.tokens.size(); ++t) {
    if (expected.layout.is_padding(t / time, t % time)) continue;
    const float *x = logits.data() + t * vocab, *y = want.data() + t * vocab;
    double sum_x = 0, sum_y = 0, cross = 0;
    for (std::size_t i = 0; i < vocab; ++i) {
      off += std::pow(double(x[i]) - double(y[i]), 2), size += std::pow(double(y[i]), 2);
      sum_x += std::exp(double(x[i])), sum_y += std::exp(double(y[i]));
      cross += std::exp(double(y[i])) * (double(y[i]) - double(x[i]));
    }
    cost.nats += cross / sum_y + std::log(sum_x / sum_y);
    cost.greedy += std::max_element(x, x + vocab) - x == std::max_element(y, y + vocab) - y ? 0 : 1;
    ++tokens;
  }
  return {std::sqrt(off / size), cost.nats / tokens, cost.greedy / tokens};
}

template <class S>
void check_cost(const std::string& name) {
  CHECK(cost_of<FrozenAs<float>, S>(name).logits < 1e-5);
  const Cost bf = cost_of<FrozenAs<bf16>, S>(name);
  INFO(name << ": logits off by " << bf.logits << " of their size, " << bf.nats << " nats a token, another token in "
            << bf.greedy);
  CHECK(bf.logits < 0.03);
  CHECK(bf.nats < 0.001);
  CHECK(bf.greedy < 0.1);
}

}  // namespace

TEST_CASE("GPT-2, packed") { check_cost<Gpt2A>("gpt2-a"); }
TEST_CASE("Llama, packed") { check_cost<LlamaA>("llama-a"); }
TEST_CASE("Gemma 2, packed") { check_cost<Gemma2A>("gemma2-a"); }
TEST_CASE("Qwen 3, packed") { check_cost<Qwen3A>("qwen3-a"); }
TEST_CASE("Phi 3, packed") { check_cost<Phi3B>("phi3-b"); }
