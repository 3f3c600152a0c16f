// Whole models in float against transformers; tests/fixtures/make_models_fixture.py made the numbers.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>

#include <catch2/catch.hpp>

#include "calm/io/safetensors.hpp"
#include "calm/nn/layout.hpp"
#include "calm/nn/transformer.hpp"
#include "support/fixture_llama.hpp"

namespace {

using namespace calm;

struct Gpt2 {
  static constexpr const char* name = "gpt2";
  static constexpr nn::TransformerConfig config{.vocab = 37,
                                                .hidden = 16,
                                                .layers = 2,
                                                .heads = 2,
                                                .context = 12,
                                                .norm = nn::NormKind::layer,
                                                .mlp = nn::MlpKind::gelu_tanh,
                                                .positions = nn::PositionKind::learned,
                                                .bias = true};
};
const io::SafetensorsFile& fixture() {
  static const auto file = io::SafetensorsFile::open(CALM_FIXTURES "/models.safetensors");
  return file;
}

template <class X>
X load(const std::string& model, const std::string& name) {
  return fixture().load<X>(model + '.' + name);
}

template <class Model>
void load_parameters(Model& model) {
  nn::for_each_parameter(model, [](const std::string& path, auto& p) {
    using X = typename std::remove_cvref_t<decltype(p)>::tensor_type;
    p.assign(load<X>(Model::spec::name, "w." + path));
  });
}

template <class S>
struct Case {
  nn::Tokens<Cpu> tokens = load<nn::Tokens<Cpu>>(S::name, "tokens");
  nn::Tokens<Cpu> targets = load<nn::Tokens<Cpu>>(S::name, "targets");
  Tensor<Index, Cpu, Batch> lengths = load<Tensor<Index, Cpu, Batch>>(S::name, "lengths");
  nn::Layout<Cpu> layout = nn::pad_right<Cpu>(std::span(lengths.data(), lengths.size()), tokens.extent(1));
};

float largest_of(const float* x, std::size_t n) {
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  return largest;
}

/// |found - expected| <= 1e-5 · |expected|, or 2e-6 of `largest` where `expected` is close to zero; PyTorch's own
/// float32 stays within 6e-7 of it
void check_close(const std::string& name, const float* found, const float* expected, std::size_t n, float largest) {
  float worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float off = std::abs(found[i] - expected[i]) / std::max(1e-5f * std::abs(expected[i]), 2e-6f * largest);
    if (!(off <= worst)) worst = off, at = i;
  }
  INFO(name << ", element " << at << ": expected " << expected[at] << ", found " << found[at]);
  CHECK(worst <= 1);
}

template <class S>
void check_model() {
  const std::string name = S::name;
  using Trained = nn::Transformer<S, float, Cpu, Trainable>;
  Trained model;
  load_parameters(model);
  const Case<S> c;
  const auto logits = model.logits(c.tokens, c.layout);
  using Logits = ValueOf<decltype(logits)>;
  const auto expected = load<Logits>(name, "logits");
  const std::size_t vocab = S::config.vocab;
  const float largest = largest_of(expected.data(), expected.size());
  REQUIRE(largest > 1);  // the model is not flat
  for (std::size_t i = 0; i < c.tokens.size(); ++i) {
    if (c.layout.is_padding(i / c.layout.time(), i % c.layout.time())) continue;
    check_close(name + ".logits of token " + std::to_string(i), logits.value.data() + i * vocab,
                expected.data() + i * vocab, vocab, largest);
  }

  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    const auto loss = model.loss(c.tokens, c.layout, c.targets);
    CHECK(loss.value[0] == Approx(load<Tensor<float, Cpu, One>>(name, "loss")[0]).epsilon(1e-6));
    backward(loss);
  }
  // The gradient of a bias of keys is zero but for rounding, so what is close to zero is measured on the whole model.
  const auto expected_gradient = [&]<class P>(const std::string& path, const P&) {
    return load<typename P::tensor_type>(name, "d." + path);
  };
  float steepest = 0;
  nn::for_each_parameter(model, [&](const std::string& path, auto& p) {
    const auto d = expected_gradient(path, p);
    steepest = std::max(steepest, largest_of(d.data(), d.size()));
  });
  std::size_t parameters = 0;
  nn::for_each_parameter(model, [&](const std::string& path, auto& p) {
    ++parameters;
    REQUIRE(p.gradient() != nullptr);
    const auto d = expected_gradient(path, p);
    check_close(name + ".d." + path, p.gradient(), d.data(), d.size(), steepest);
  });
  std::size_t stored = 0;
  for (const auto& tensor : fixture().names()) stored += std::string(tensor).starts_with(name + ".d.") ? 1 : 0;
  CHECK(parameters == stored);

  nn::Transformer<S, float, Cpu> frozen;
  load_parameters(frozen);
  const auto same = frozen.logits(c.tokens, c.layout);
  CHECK(std::memcmp(same.data(), logits.value.data(), same.size() * sizeof(float)) == 0);
}

}  // namespace

TEST_CASE("a GPT-2 and its gradients agree with transformers") { check_model<Gpt2>(); }

TEST_CASE("a Llama and its gradients agree with transformers") { check_model<test::FixtureLlama>(); }
