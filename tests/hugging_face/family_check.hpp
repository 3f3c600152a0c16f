/// \file  Compares a model that is loaded from tests/fixtures/families with what transformers says of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/io/hugging_face/model_directory.hpp"
#include "calm/nn/transformer.hpp"
#include "hugging_face/family_specs.hpp"

namespace calm::test {

inline std::string family_folder(const std::string& name) { return CALM_FIXTURES "/families/" + name; }

/// What transformers says of one model (tests/fixtures/make_families_fixture.py).
struct Expected {
  io::SafetensorsFile file;
  nn::Tokens<Cpu> tokens = file.load<nn::Tokens<Cpu>>("tokens"), targets = file.load<nn::Tokens<Cpu>>("targets");
  Tensor<Index, Cpu, Batch> lengths = file.load<Tensor<Index, Cpu, Batch>>("lengths");
  Tensor<Index, Cpu, Batch> greedy = file.load<Tensor<Index, Cpu, Batch>>("greedy");
  nn::Layout<Cpu> layout = nn::pad_right<Cpu>(std::span(lengths.data(), lengths.size()), tokens.extent(1));

  explicit Expected(const std::string& name)
      : file(io::SafetensorsFile::open(family_folder(name) + "/expected.safetensors")) {}
};

/// The largest |found - expected|, and where; 1e-4 of the largest number there is is allowed.
inline void check_near(const std::string& what, std::span<const float> found, std::span<const float> expected,
                       float largest) {
  REQUIRE(found.size() == expected.size());
  float worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const float off = std::abs(found[i] - expected[i]);
    if (!(off <= worst)) worst = off, at = i;
  }
  INFO(what << ", element " << at << ": expected " << expected[at] << ", found " << found[at]);
  CHECK(worst <= 1e-4f * std::max(1.0f, largest));
}

template <class X>
std::span<const float> elements(const X& x) {
  return {x.data(), x.size()};
}

inline float largest_of(std::span<const float> x) {
  float largest = 0;
  for (const float element : x) largest = std::max(largest, std::abs(element));
  return largest;
}

/// Logits of every token but padding, and the loss with all its gradients.
template <class Model>
void check_results(Model& model, const std::string& name, const Expected& expected) {
  const auto logits = value(model.logits(expected.tokens, expected.layout));
  const auto want = expected.file.load<std::remove_cvref_t<decltype(logits)>>("logits");
  const std::size_t vocab = Model::spec::config.vocab, time = expected.layout.time();
  for (std::size_t i = 0; i < expected.tokens.size(); ++i) {
    if (expected.layout.is_padding(i / time, i % time)) continue;
    check_near(name + ": logits of token " + std::to_string(i), elements(logits).subspan(i * vocab, vocab),
               elements(want).subspan(i * vocab, vocab), 1);
  }
  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    const auto loss = model.loss(expected.tokens, expected.layout, expected.targets);
    CHECK(loss.value[0] == Approx(expected.file.load<Tensor<float, Cpu, One>>("loss")[0]).epsilon(1e-5));
    backward(loss);
  }
}

/// The gradients of `model`, each read from where the checkpoint of its family has the parameter.
template <class Model>
void check_gradients(Model& model, const std::string& name, const Expected& expected) {
  const auto described = io::read_model_config(family_folder(name) + "/config.json");
  const std::string_view prefix = io::trunk_prefix(described.family);
  std::set<std::string> seen;
  nn::for_each_parameter(model, [&](const std::string& path, auto& p) {
    const io::Source s = io::source_of(described.family, described.config, path, prefix);
    seen.insert("d." + s.name);
    const auto& shape = expected.file.entry("d." + s.name).shape;
    const std::size_t size = p.value().size(), rows = p.value().extent(0), columns = size / rows;
    std::vector<float> want(size);
    const auto whole = reinterpret_cast<const float*>(expected.file.data("d." + s.name));
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c)
        want[r * columns + c] = s.transposed ? whole[c * shape[1] + s.first + r] : whole[(s.first + r) * columns + c];
    }
    REQUIRE(p.gradient() != nullptr);
    check_near(name + ": gradient of " + path, {p.gradient(), size}, want, largest_of(want));
  });
  std::size_t stored = 0;
  for (const std::string& tensor : expected.file.names()) stored += tensor.starts_with("d.") ? 1 : 0;
  CHECK(seen.size() == stored);
}

/// The 64 greedy tokens with caches, and at each step the logits of the whole text without.
template <class Model>
void check_decoding(const Model& model, const std::string& name, const Expected& expected) {
  const std::size_t prompt = 4, steps = expected.greedy.size();
  std::vector<Index> text(expected.tokens.data(), expected.tokens.data() + prompt);
  auto caches = model.make_caches(1, prompt + steps);
  std::size_t read = 0;
  for (std::size_t step = 0; step < steps; ++step) {
    const auto fresh = static_cast<Index>(text.size() - read), held = static_cast<Index>(read);
    const auto length = static_cast<Index>(text.size());
    const auto tokens = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, text.size() - read), text.data() + read);
    const auto last = Tensor<Index, Cpu, Batch>::full(Shape<Batch>(1), fresh - 1);
    const auto layout = nn::continue_at<Cpu>({&held, 1}, {&fresh, 1}, text.size() - read);
    const auto logits = model.next_logits(tokens, layout, last, caches);
    const auto all = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, text.size()), text.data());
    const auto full = value(model.logits(all, nn::pad_right<Cpu>({&length, 1}, text.size())));
    check_near(name + ": cached logits", elements(logits), elements(full).last(logits.size()), 1);
    read = text.size();
    const float* best = std::max_element(logits.data(), logits.data() + logits.size());
    text.push_back(static_cast<Index>(best - logits.data()));
  }
  CHECK(std::equal(text.begin() + prompt, text.end(), expected.greedy.data()));
}

/// All of it for the model in the folder `name`. One type serves training and decoding.
template <class Spec>
void check_family(const std::string& name) {
  nn::Transformer<Spec, float, Cpu, Trainable> model;
  io::load(model, family_folder(name));
  const Expected expected(name);
  check_results(model, name, expected);
  check_gradients(model, name, expected);
  check_decoding(model, name, expected);
}

}  // namespace calm::test
