/// \file  Lesson 5, composing: one model can add, another knows what keys stand for; bridges between them add keys.
///
/// The paper's key-value arithmetic (arXiv 2401.02412, §4.1) as a toy. The bridges are trained on sums of 30 keys; to
/// add the other 10 they must have learnt to ask the augment, for nobody else knows what those stand for.
#include <algorithm>
#include <cstdio>
#include <vector>

#include <calm/compose/compose.hpp>
#include <calm/io/module_file.hpp>
#include <calm/train/fit.hpp>

namespace {

using calm::Index, calm::train::Example;
constexpr Index operands = 5, digits = 9, keys = 40, practised = 30;  // tokens: 0 to 8, the keys, "+" and "="
constexpr Index plus = digits + keys, equals = plus + 1;
constexpr std::size_t vocab = equals + 1;
constexpr Index meaning(Index token) { return token < digits ? token : 3 * (token - digits) % operands; }

// The anchor's first block sees each token alone, so that a bridge behind it comes before operands are read.
struct Adder {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = vocab, .hidden = 48, .layers = 2, .heads = 4, .context = 8, .window = 1, .local_layers = 1};
};
struct Lexicon {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = vocab, .hidden = 32, .layers = 1, .heads = 2, .context = 8};
};
template <class Spec, class Mode = calm::Frozen>
using Transformer = calm::nn::Transformer<Spec, float, calm::Cpu, Mode>;
using Links = calm::LayerMap<calm::Link<0, 0>>;  // augment layer, anchor layer
using Model = calm::Compose<Transformer<Adder>, Transformer<Lexicon>, Links, calm::bridge::Local>;

/// "x + y =" and the digit that follows.
Example sum(Index x, Index y) {
  return {.tokens = {x, plus, y, equals, meaning(x) + meaning(y)}, .prompt = 4, .labels = {}};
}

/// Sums of two random ones of the `count` tokens from `first`.
auto sums(Index first, Index count) {
  return [=](std::uint64_t i, Example& example) {
    const auto pair = static_cast<Index>(calm::random_below({}, i, static_cast<std::uint32_t>(count * count)));
    example = sum(first + pair / count, first + pair % count);
  };
}

/// The augment's lessons: the same texts, and what each key stands for. It never sees a result.
void meanings(std::uint64_t i, Example& example) {
  sums(digits, keys)(i, example);
  const auto& t = example.tokens;
  example.labels = {meaning(t[0]), -1, meaning(t[2]), -1, -1};
}

/// Percent of right results over all pairs of the `count` tokens from `first`.
int score(const Model& model, Index first, Index count) {
  std::vector<Example> pairs;
  for (Index i = 0; i < count * count; ++i) pairs.push_back(sum(first + i / count, first + i % count));
  const auto batch = calm::train::collate<calm::Cpu>(pairs);
  const auto logits = calm::value(model.logits(batch.tokens, batch.layout));  // [Batch, Time, Vocab]
  std::size_t right = 0;
  for (std::size_t b = 0; b < pairs.size(); ++b) {
    const float* behind_equals = logits.data() + (b * 4 + 3) * vocab;
    right += std::max_element(behind_equals, behind_equals + vocab) - behind_equals == pairs[b].tokens[4];
  }
  return static_cast<int>(100 * right / pairs.size());
}

}  // namespace

int main() {
  Transformer<Adder, calm::Trainable> adder;
  Transformer<Lexicon, calm::Trainable> lexicon;
  calm::nn::initialise(adder, {.seed = 1, .deviation = 0.1});
  calm::nn::initialise(lexicon, {.seed = 2, .deviation = 0.1});
  calm::train::fit(adder, sums(0, operands), {.steps = 300, .learning_rate = 5e-3});
  calm::train::fit(lexicon, meanings, {.steps = 100, .learning_rate = 1e-2});
  calm::io::save_module(adder, "adder.safetensors");
  calm::io::save_module(lexicon, "lexicon.safetensors");

  Model model;  // both models frozen, whatever they were before; of the augment, what the links need
  calm::io::load_module(model.anchor, "adder.safetensors");
  calm::io::load_module(model.augment, "lexicon.safetensors", {.allow_unused = true});
  model.initialise_bridges();
  const auto report = [&](const char* bridges) {
    std::printf("%-8s digits %3d %%   practised keys %3d %%   other keys %3d %%\n", bridges, score(model, 0, operands),
                score(model, digits, practised), score(model, digits + practised, keys - practised));
  };
  report("fresh:");  // exactly the anchor
  calm::train::fit(model, [](std::uint64_t i, Example& example) {
    i % 4 == 0 ? sums(0, operands)(i, example) : sums(digits, practised)(i, example);  // digits, so as not to harm them
  }, {.steps = 300, .learning_rate = 1e-2});
  report("trained:");
  model.scale = {0};
  report("off:");
}
// prints: fresh: +digits +(9.|100) % +practised keys +[12]?. % +other keys +[12]?. %
// prints: trained: +digits +(9.|100) % +practised keys +(9.|100) % +other keys +([89].|100) %
// prints: off: +digits +(9.|100) % +practised keys +[12]?. % +other keys +[12]?. %
