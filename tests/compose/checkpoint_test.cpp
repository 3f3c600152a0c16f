// Checkpointed blocks (nn/transformer.hpp, tensor/ops/checkpoint.hpp): of a frozen anchor, of one in training, of LoRA.
#include "calm/tensor/ops/checkpoint.hpp"

#include <memory>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

/// Deep enough for checkpoints to tell: bridges on the first blocks, eight blocks above.
struct Deep {
  static constexpr nn::TransformerConfig config{.vocab = 16,
                                                .hidden = 24,
                                                .layers = 10,
                                                .heads = 4,
                                                .kv_heads = 2,
                                                .context = 32,
                                                .window = 5,
                                                .local_layers = 4};
};
using Composed = Compose<nn::Transformer<Deep, float, Cpu>, SmallAugment<float>, LayerMap<Link<0, 0>, Link<2, 1>>>;
using Trained = nn::Transformer<Deep, float, Cpu, Trainable>;
using Lora = nn::Transformer<Deep, float, Cpu, nn::LowRank<2>>;

template <class Model>
std::unique_ptr<Model> make() {
  if constexpr (std::is_same_v<Model, Composed>) {
    return make_small<Model>(true);
  } else {
    auto m = std::make_unique<Model>();
    nn::initialise(*m, {.seed = 1, .deviation = 0.3});
    nn::initialise_trainable(*m, {.seed = 2, .deviation = 0.3});
    return m;
  }
}

std::size_t& checkpoint_every(Composed& m) { return m.anchor.checkpoint_every; }
template <class Model>
std::size_t& checkpoint_every(Model& m) { return m.checkpoint_every; }

struct Step {
  float loss = 0;
  std::vector<float> gradients;
  std::size_t peak = 0;
};

/// One forward and backward pass over 8 texts of 32 tokens.
template <class Model>
Step step_of(Model& model, std::size_t every) {
  checkpoint_every(model) = every;
  const auto tokens = random_tokens(8, 32, 1), targets = random_tokens(8, 32, 2);
  const auto layout = whole(8, 32);
  Step step;
  Tape<Cpu> tape;
  nn::for_each_trainable(model, [](const std::string&, auto& p) { p.zero_gradient(); });
  for (int pass = 0; pass < 2; ++pass) {  // at the second, the gradients have their memory
    const std::size_t before = CpuPool::instance().use().live;
    CpuPool::instance().reset_peak();
    const auto recording = tape.record();
    const auto loss = model.loss(tokens, layout, targets);
    step.loss = loss.value[0];
    backward(loss);
    step.peak = CpuPool::instance().use().peak - before;
  }
  nn::for_each_trainable(model, [&](const std::string&, auto& p) {
    step.gradients.insert(step.gradients.end(), p.gradient(), p.gradient() + p.value().size());
  });
  return step;
}

}  // namespace

TEMPLATE_TEST_CASE("checkpointed blocks give the same bits in less memory", "", Composed, Trained, Lora) {
  const auto model = make<TestType>();
  const Step plain = step_of(*model, 0);
  for (const std::size_t every : {1u, 3u, 100u}) {
    const Step less = step_of(*model, every);
    CAPTURE(every, plain.peak, less.peak);
    CHECK(less.loss == plain.loss);
    CHECK((less.gradients == plain.gradients));  // in brackets: not printed
    if (every < Deep::config.layers) CHECK(100 * less.peak < 60 * plain.peak);
  }
}
