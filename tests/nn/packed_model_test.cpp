// Whole models with packed matrices: against transformers' numbers, and in files.
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/io/module_file.hpp"
#include "calm/nn/cost.hpp"
#include "calm/nn/initialise.hpp"
#include "calm/nn/layout.hpp"
#include "calm/nn/transformer.hpp"
#include "support/fixture_llama.hpp"

namespace {

using namespace calm;
using Llama = test::FixtureLlama;

struct Tied {
  static constexpr nn::TransformerConfig config{.vocab = 37, .hidden = 16, .layers = 2, .heads = 2, .context = 12};
};

struct Wide {
  static constexpr nn::TransformerConfig config{
      .vocab = 256, .hidden = 128, .layers = 2, .heads = 2, .context = 12, .bias = true};
};

/// The root of the mean square of the error of the logits, as a part of theirs.
template <class Mode>
double error_of_logits() {
  static const auto file = io::SafetensorsFile::open(CALM_FIXTURES "/models.safetensors");
  const auto read = [&]<class X>(const std::string& name, X*) { return file.load<X>("llama." + name); };
  nn::Transformer<Llama, float, Cpu, Mode> model;
  nn::for_each_parameter(model, [&](const std::string& path, auto& p) {
    p.assign(read("w." + path, static_cast<typename std::remove_cvref_t<decltype(p)>::tensor_type*>(nullptr)));
  });
  const auto tokens = read("tokens", static_cast<nn::Tokens<Cpu>*>(nullptr));
  const auto lengths = read("lengths", static_cast<Tensor<Index, Cpu, Batch>*>(nullptr));
  const auto layout = nn::pad_right<Cpu>(std::span(lengths.data(), lengths.size()), tokens.extent(1));
  const auto logits = model.logits(tokens, layout);
  const auto expected = read("logits", static_cast<std::remove_cv_t<decltype(logits)>*>(nullptr));
  double off = 0, size = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const std::size_t token = i / Llama::config.vocab;
    if (layout.is_padding(token / layout.time(), token % layout.time())) continue;
    off += std::pow(double(logits[i]) - double(expected[i]), 2);
    size += std::pow(double(expected[i]), 2);
  }
  return std::sqrt(off / size);
}

template <class Mode>
using Model = nn::Transformer<Tied, float, Cpu, Mode>;

}  // namespace

TEST_CASE("a packed model gives the logits of transformers") {
  CHECK(error_of_logits<Frozen>() < 1e-6);
  CHECK(error_of_logits<FrozenAs<float>>() < 1e-6);
  const double rounded = error_of_logits<FrozenAs<bf16>>();
  INFO("part of the logits that bf16 costs: " << rounded);
  CHECK(rounded < 0.02);
  CHECK(rounded > 1e-4);
}

TEST_CASE("a packed model is saved as what it keeps, and has the digest of a model of these numbers") {
  const auto path = std::filesystem::temp_directory_path() / "calm_packed_model.safetensors";
  Model<FrozenAs<bf16>> packed;
  nn::initialise(packed, {.deviation = 0.3});
  io::save_module(packed, path.string());
  Model<Frozen> plain;
  io::load_module(plain, path.string());
  CHECK(io::weights_sha256(plain) == io::weights_sha256(packed));
  Model<FrozenAs<bf16>> again;
  io::load_module(again, path.string());
  CHECK(io::weights_sha256(again) == io::weights_sha256(packed));
  nn::initialise(plain, {.deviation = 0.3});
  CHECK(io::weights_sha256(plain) != io::weights_sha256(packed));  // bf16 does not hold these
  std::filesystem::remove(path);
}

TEST_CASE("the bytes of a packed model are planned to the last") {
  const auto taken = []<class S, class Mode>(S, Mode) {
    const std::size_t before = CpuPool::instance().use().live;
    nn::Transformer<S, float, Cpu, Mode> model;
    nn::initialise(model, {.deviation = 0.3});
    CHECK(CpuPool::instance().use().live - before == nn::transformer_bytes<S, float, Mode>());
    return nn::transformer_bytes<S, float, Mode>();
  };
  CHECK(taken(Wide(), FrozenAs<bf16>()) < taken(Wide(), Frozen()) * 6 / 10);
  taken(Llama(), FrozenAs<bf16>());
  taken(Tied(), FrozenAs<float>());
}

TEST_CASE("a packed table is embedding and head at once") {
  Model<Frozen> plain;
  nn::initialise(plain, {.deviation = 0.3});
  Model<FrozenAs<float>> packed;
  nn::initialise(packed, {.deviation = 0.3});
  const auto tokens = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, 5), {3, 36, 0, 17, 5});
  const auto targets = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, 5), {36, -1, 17, 5, 2});
  const auto layout = nn::pad_right<Cpu>(std::vector<Index>{5}, 5);
  const auto x = packed.embed(tokens, layout), y = plain.embed(tokens, layout);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(x[i] == y[i]);
  CHECK(packed.loss(tokens, layout, targets)[0] == Approx(plain.loss(tokens, layout, targets)[0]).epsilon(1e-6));
  const auto outside = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, 1), {37});
  CHECK_THROWS_AS(packed.embed(outside, nn::pad_right<Cpu>(std::vector<Index>{1}, 1)), Error);
}
