// A second file, with the same headers: nothing may be defined in both.
#include <calm/compose.hpp>
#include <calm/nn.hpp>
#include <calm/train.hpp>

namespace {

struct Large {
  static constexpr calm::nn::TransformerConfig config{.vocab = 8, .hidden = 16, .layers = 1, .heads = 2, .context = 8};
};
struct Small {
  static constexpr calm::nn::TransformerConfig config{.vocab = 8, .hidden = 8, .layers = 1, .heads = 2, .context = 8};
};
using Model = calm::Compose<calm::nn::Transformer<Large, float, calm::Cpu>,
                            calm::nn::Transformer<Small, float, calm::Cpu>, calm::LayerMap<calm::Link<0, 0>>>;

}  // namespace

std::size_t train_a_little() {
  Model model;
  calm::nn::initialise(model.anchor, {.seed = 1});
  calm::nn::initialise(model.augment, {.seed = 2});
  model.initialise_bridges();
  const auto counting = [](std::uint64_t i, calm::train::Example& example) {
    example.tokens.assign(4, static_cast<calm::Index>(i % 8));
  };
  return calm::train::fit(model, counting, {.steps = 2, .batch_size = 2}).steps;
}
