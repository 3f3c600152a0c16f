/// \file  Two frozen models of different widths and the bridges between them: trained, saved, used.
///
/// The models are random and learn nothing. What counts to 15 and begins anew, at the end, are the bridges alone.
#include <iostream>

#include <calm/calm.hpp>

using Config = calm::nn::TransformerConfig;
struct Large { static constexpr Config config{.vocab = 16, .hidden = 64, .layers = 4, .heads = 4, .context = 32}; };
struct Small { static constexpr Config config{.vocab = 16, .hidden = 32, .layers = 3, .heads = 2, .context = 32}; };

using Anchor = calm::nn::Transformer<Large, float, calm::Cpu>;
using Augment = calm::nn::Transformer<Small, float, calm::Cpu>;
using Links = calm::LayerMap<calm::Link<0, 1>, calm::Link<2, 3>>;  // augment layer, anchor layer
using Model = calm::Compose<Anchor, Augment, Links>;

static_assert(Model::trainable_parameters < 40'000);

int main() {
  Model model;
  calm::nn::initialise(model.anchor, {.seed = 1});
  calm::nn::initialise(model.augment, {.seed = 2});
  model.initialise_bridges();
  const auto counting = [](std::uint64_t i, calm::train::Example& example) {
    example.tokens.resize(12);
    for (auto& token : example.tokens) token = static_cast<calm::Index>(i++ % 16);
  };
  calm::train::fit(model, counting, {.steps = 60, .batch_size = 16, .learning_rate = 1e-2, .warmup_steps = 5});
  calm::save_bridges(model, "bridges.safetensors");
  for (auto token : calm::generate(model, {11, 12, 13}, {.max_new_tokens = 8})) std::cout << token << ' ';
}
