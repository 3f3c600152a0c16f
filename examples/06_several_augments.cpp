/// \file  Lesson 6, several augments: two that know different keys, on one anchor; each can be turned off.
///
/// The setting is that of lesson 5. What is printed are sums of keys that no bridge has practised on.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <calm/compose/compose.hpp>
#include <calm/io/module_file.hpp>
#include <calm/train/fit.hpp>

namespace {

using calm::Index, calm::train::Example;
struct Range { Index first, count; };
constexpr Range operands{0, 5}, red{9, 40}, blue{49, 40};  // tokens: 0 to 8, red keys, blue keys, "+" and "="
constexpr Range practised_red{9, 30}, practised_blue{49, 30}, new_red{39, 10}, new_blue{79, 10};
constexpr Index plus = 89, equals = 90, vocab = 91;
constexpr Index meaning(Index token) { return token < 9 ? token : 3 * (token - 9) % operands.count; }

struct Tiny {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = vocab, .hidden = 48, .layers = 2, .heads = 4, .context = 8, .window = 1, .local_layers = 1};
};
template <class Mode = calm::Frozen>
using Transformer = calm::nn::Transformer<Tiny, float, calm::Cpu, Mode>;

// Here they are of one shape; they need not be. The bridges at a layer all read its state, and what they say is added.
using Augment = calm::With<Transformer<>, calm::LayerMap<calm::Link<1, 0>>, calm::bridge::Local>;
using Model = calm::Compose<Transformer<>, Augment, Augment>;

/// "x + y =" and the digit that follows; pair i of the tokens of two ranges, or one at random.
Example sum(Range a, Range b, Index i) {
  const Index x = a.first + i / b.count, y = b.first + i % b.count;
  return {.tokens = {x, plus, y, equals, meaning(x) + meaning(y)}, .prompt = 4, .labels = {}};
}
Example random_sum(Range a, Range b, std::uint64_t i) {
  return sum(a, b, static_cast<Index>(calm::random_below({}, i, static_cast<std::uint32_t>(a.count * b.count))));
}

using Stream = std::function<void(std::uint64_t, Example&)>;
/// The lessons of an augment: what the keys of `known` stand for, and "+" for "not mine".
Stream meanings(Range known) {
  return [=](std::uint64_t i, Example& example) {
    example = random_sum({0, plus}, {0, plus}, i);
    const auto label = [&](Index t) { return t >= known.first && t < known.first + known.count ? meaning(t) : plus; };
    example.labels = {label(example.tokens[0]), -1, label(example.tokens[2]), -1, -1};
  };
}
void train(const std::string& file, std::uint64_t seed, const Stream& lessons, std::size_t steps) {
  Transformer<calm::Trainable> model;
  calm::nn::initialise(model, {.seed = seed, .deviation = 0.1});
  calm::train::fit(model, lessons, {.steps = steps, .learning_rate = 5e-3});
  calm::io::save_module(model, file);
}
/// Percent of right sums of all pairs of two ranges.
int score(const Model& model, Range a, Range b) {
  std::vector<Example> pairs;
  for (Index i = 0; i < a.count * b.count; ++i) pairs.push_back(sum(a, b, i));
  const auto batch = calm::train::collate<calm::Cpu>(pairs);
  const auto logits = calm::value(model.logits(batch.tokens, batch.layout));  // [Batch, Time, Vocab]
  std::size_t right = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const float* behind_equals = logits.data() + (i * 4 + 3) * vocab;
    right += std::max_element(behind_equals, behind_equals + vocab) - behind_equals == pairs[i].tokens[4];
  }
  return static_cast<int>(100 * right / pairs.size());
}

}  // namespace

int main() {
  train("anchor.safetensors", 1, [](auto i, Example& example) { example = random_sum(operands, operands, i); }, 300);
  train("red.safetensors", 2, meanings(red), 200);
  train("blue.safetensors", 3, meanings(blue), 200);

  Model model;
  calm::io::load_module(model.anchor, "anchor.safetensors");
  calm::io::load_module(model.branch<0>().augment, "red.safetensors", {.allow_unused = true});
  calm::io::load_module(model.branch<1>().augment, "blue.safetensors", {.allow_unused = true});
  model.initialise_bridges();
  calm::train::fit(model, [](std::uint64_t i, Example& example) {
    const Range of[] = {operands, practised_red, practised_blue};
    example = random_sum(of[i % 3], of[i / 3 % 3], i);
  }, {.steps = 400, .learning_rate = 1e-2});
  const auto report = [&](const char* on, double red_scale, double blue_scale) {
    model.branch<0>().scale = {red_scale}, model.branch<1>().scale = {blue_scale};
    std::printf("%-10s red + red %3d %%   blue + blue %3d %%   red + blue %3d %%\n", on,
                score(model, new_red, new_red), score(model, new_blue, new_blue), score(model, new_red, new_blue));
  };
  report("both:", 1, 1);
  report("red only:", 1, 0);
  report("blue only:", 0, 1);
}
// prints: both: +red . red +(9.|100) % +blue . blue +(9.|100) % +red . blue +(9.|100) %
// prints: red only: +red . red +(9.|100) % +blue . blue +[1-4]?. % +red . blue +[1-4]?. %
// prints: blue only: +red . red +[1-4]?. % +blue . blue +(9.|100) % +red . blue +[1-4]?. %
