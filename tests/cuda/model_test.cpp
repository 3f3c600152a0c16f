// A composition on the GPU against the host: loss, gradients, decoding; and it learns.

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/compose.hpp"
#include "calm/compose/join_softmax.hpp"
#include "calm/compose/two_way.hpp"
#include "calm/generate/generate.hpp"
#include "calm/tensor/cuda/profile.hpp"
#include "calm/train/adamw.hpp"
#include "calm/train/batch.hpp"
#include "calm/train/feature_cache.hpp"
#include "calm/train/step_loss.hpp"
#include "compose/models.hpp"
#include "compose/toy_retokenizer.hpp"
#include "cuda/both.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::test;

namespace {

template <class T, class Device>
using AnchorOn = nn::Transformer<AnchorSpec, T, Device>;
template <class T, class Device>
using AugmentOn = nn::Transformer<AugmentSpec, T, Device>;

/// All that a bridge can have, in two links.
struct Everything {
  static constexpr BridgeConfig config{.heads = 4,
                                       .recency = 0.5,
                                       .gate = BridgeGate::sigmoid,
                                       .bias = true,
                                       .kv_heads = 2,
                                       .normalise_keys = true};
};

/// The augment sees whole prompts, so the host bounds what each position sees.
struct WholePrompts {
  static constexpr BridgeConfig config{.mask = BridgeMask::prefix};
};

/// A link reads several of the augment's layers.
struct Mixing {
  static constexpr BridgeConfig config{.mix = 2};
};

template <class T, class Device>
using Plain = Compose<AnchorOn<T, Device>, AugmentOn<T, Device>, SmallLinks>;
template <class T, class Device>
using Rich = Compose<AnchorOn<T, Device>, AugmentOn<T, Device>, SmallLinks, Everything>;
template <class T, class Device>
using Prefixed = Compose<AnchorOn<T, Device>, AugmentOn<T, Device>, SmallLinks, WholePrompts>;
template <class T, class Device>
using Mixed = Compose<AnchorOn<T, Device>, AugmentOn<T, Device>, LayerMap<Link<1, 1>>, Mixing>;
template <class T, class Device>
using Joint = Compose<AnchorOn<T, Device>, join::JointSoftmax, With<AugmentOn<T, Device>, SmallLinks, bridge::Paper>,
                    With<AnchorOn<T, Device>, LayerMap<Link<1, 1>>, bridge::Paper>>;

/// What runs beside the anchor's first layers is another part of each of these augments.
template <class T, class Device>
using BothWays = Compose<AnchorOn<T, Device>, TwoWay<AugmentOn<T, Device>, SmallLinks, LayerMap<Link<0, 1>>>>;
template <class T, class Device>
using OwnTokens = Compose<AnchorOn<T, Device>, Retokenized<AugmentOn<T, Device>, SmallLinks>>;

/// No block is local.
struct EverywhereSpec {
  static constexpr nn::TransformerConfig config = [] {
    auto c = AnchorSpec::config;
    c.window = c.local_layers = 0;
    return c;
  }();
};
template <class T, class Device>
using Everywhere = Compose<nn::Transformer<EverywhereSpec, T, Device>, AugmentOn<T, Device>, SmallLinks>;

/// The frozen models' matrices kept: in bf16 for models in float, for others as they are.
template <class T>
using Kept = FrozenAs<std::conditional_t<std::is_same_v<T, float>, bf16, T>>;
template <class T, class Device>
using PackedModels = Compose<nn::Transformer<AnchorSpec, T, Device, Kept<T>>,
                             nn::Transformer<AugmentSpec, T, Device, Kept<T>>, SmallLinks>;

/// The same weights on either device: they are a function of the seed.
template <class Model>
std::unique_ptr<Model> make(std::uint64_t number) {
  auto m = std::make_unique<Model>();
  nn::initialise(m->anchor, {.seed = number, .deviation = 0.3});
  m->for_each_branch([&](auto i, auto& branch) {
    nn::initialise(branch.augment, {.seed = number + 1 + i, .deviation = 0.3});
    if constexpr (requires { branch.retokenizer; }) branch.retokenizer = std::make_shared<ToyRetokenizer>();
  });
  m->initialise_bridges(number + 9);
  nn::initialise_trainable(*m, {.seed = number + 10, .deviation = 0.3});
  return m;
}

std::vector<train::Example> random_examples() {
  std::vector<train::Example> examples;
  for (const std::size_t length : {9u, 4u, 12u}) {
    train::Example e;
    for (std::size_t i = 0; i < length; ++i) {
      e.tokens.push_back(static_cast<Index>(random_below({seed(), 70 + length}, i, 16)));
    }
    e.prompt = length / 3;
    examples.push_back(std::move(e));
  }
  return examples;
}

template <class T>
struct Step {
  double loss = 0;
  std::vector<std::string> paths;
  std::vector<std::vector<T>> gradients;
};

template <class Model>
auto step(Model& model) {
  using T = typename Model::value_type;
  using Device = typename Model::device;
  const auto examples = random_examples();
  const auto batch = train::collate<Device>(examples);
  Step<T> made;
  Tape<Device> tape;
  {
    const auto recording = tape.record();
    const auto loss = model.loss(batch.tokens, batch.layout, batch.targets);
    made.loss = static_cast<double>(on_host(value(loss))[0]);
    backward(loss);
  }
  nn::for_each_trainable(model, [&](const std::string& path, auto& p) {
    INFO(path);
    std::vector<T> g(p.value().size());
    REQUIRE(p.gradient() != nullptr);
    kernel::copy_to_host(Device{}, g.size() * sizeof(T), p.gradient(), g.data());
    made.paths.push_back(path);
    made.gradients.push_back(std::move(g));
  });
  return made;
}

template <template <class, class> class Model, class T>
void check(std::size_t checkpoint_every = 0, double scale = 20) {
  const auto host = make<Model<T, Cpu>>(seed()), again = make<Model<T, Cpu>>(seed());
  const auto gpu = make<Model<T, Cuda>>(seed());
  gpu->anchor.checkpoint_every = checkpoint_every;
  const auto& mlp = gpu->anchor.layers[0].mlp;
  if constexpr (!PackedMatrix<decltype(mlp.up_proj.weight())>)
    REQUIRE(stands_behind(mlp.up_proj.weight(), mlp.gate_proj.weight()));
  const auto a = step(*host), b = step(*gpu);
  INFO("seed " << seed());
  REQUIRE(b.loss == Approx(a.loss).epsilon(scale / 2 * tolerance<T>));
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    require_close(a.paths[i], a.gradients[i].size(), a.gradients[i].data(), b.gradients[i].data(), scale);
  }
}

/// A step of training, as `fit` takes it, waits for its loss and for the gradients' norm, when all else is launched.
template <template <class, class> class Model>
void check_waits() {
  const auto model = make<Model<float, Cuda>>(seed());
  train::AdamW optimizer(*model);
  train::CollatedLoss loss;
  Tape<Cuda> tape;
  const auto examples = random_examples();
  const auto train = [&] {
    train::detail::accumulate_gradients(*model, tape, loss, std::span(examples), 1);
    optimizer.clip_gradients(1, optimizer.gradient_norm().value);
    optimizer.step(1e-3);
    optimizer.zero_gradients();
  };
  train();
  const auto before = cuda::waits();
  train();
  REQUIRE(cuda::waits() == before + 2);
}

/// Three texts of different lengths, greedily.
template <template <class, class> class Model>
void check_decoding(std::size_t new_tokens = 12) {
  const auto host = make<Model<double, Cpu>>(seed());
  const auto gpu = make<Model<double, Cuda>>(seed());
  const std::vector<std::vector<Index>> prompts{{1, 2, 3}, {4}, {5, 6, 7, 8, 9}};
  INFO("seed " << seed());
  REQUIRE(generate(*gpu, std::span(prompts), {.max_new_tokens = new_tokens}) ==
          generate(*host, std::span(prompts), {.max_new_tokens = new_tokens}));
}

}  // namespace

TEST_CASE("cuda model: a step of a composition") {
  check<Plain, double>();
  check<Plain, float>();
}
TEST_CASE("cuda model: settling puts the weights of gate and up together; a walk over parameters moves none") {
  nn::Transformer<AnchorSpec, float, Cuda> model;
  nn::for_each_parameter(model, [&](const std::string&, auto& p) {
    p.assign(std::remove_cvref_t<decltype(p.value())>::zeros({}));
  });
  nn::for_each_parameter(model, [](const std::string&, auto&) {});
  const auto& mlp = model.layers[0].mlp;
  CHECK_FALSE(stands_behind(mlp.up_proj.weight(), mlp.gate_proj.weight()));
  nn::settle(model);
  CHECK(stands_behind(mlp.up_proj.weight(), mlp.gate_proj.weight()));
}
TEST_CASE("cuda model: a step of a composition, checkpointed") { check<Plain, double>(2); }
TEST_CASE("cuda model: a step with all that a bridge can have") { check<Rich, double>(); }
TEST_CASE("cuda model: a step of two augments in one softmax") { check<Joint, double>(); }

TEST_CASE("cuda model: a step of links that mix layers") { check<Mixed, double>(); }

TEST_CASE("cuda model: a step of training waits at its end alone") {
  check_waits<Plain>();
  check_waits<Rich>();
  check_waits<Prefixed>();
  check_waits<Mixed>();
  check_waits<Joint>();
  check_waits<PackedModels>();
}

TEST_CASE("cuda model: a step of packed models") {
  check<PackedModels, double>();
  check<PackedModels, float>(0, 6000);  // in bf16 both round what they multiply, and sum in other orders
}

TEST_CASE("cuda model: logits behind caches of packed models, in bf16") {
  const auto logits_of = []<class Model>(std::unique_ptr<Model> model) {
    auto caches = model->make_caches(1, 8);
    STATIC_REQUIRE(std::is_same_v<typename std::remove_cvref_t<decltype(caches.anchor[0].keys())>::value_type, bf16>);
    calm::detail::TokenStep<Model> step;
    std::vector<float> all;
    for (Index i = 0; i < 5; ++i) {
      const calm::detail::Reading reading{std::span(&i, 1), static_cast<std::size_t>(i), 1};
      step.read(*model, std::span(&reading, 1), caches);
      all.insert(all.end(), step.logits(0), step.logits(0) + AnchorSpec::config.vocab);
    }
    return all;
  };
  const auto host = logits_of(make<PackedModels<float, Cpu>>(seed()));
  const auto gpu = logits_of(make<PackedModels<float, Cuda>>(seed()));
  require_close("logits", host.size(), host.data(), gpu.data(), 6000);
}

TEST_CASE("cuda model: what is decoded is what the host decodes") {
  check_decoding<Plain>();
  check_decoding<Everywhere>();
  check_decoding<PackedModels>();
  check_decoding<BothWays>();
  check_decoding<OwnTokens>(7);  // each may be three of the augment's, which reads 32
}

TEST_CASE("cuda model: a step of decoding is recorded, or not where the host has a part in it") {
  const auto recorded = []<class Model>(std::unique_ptr<Model> model) {
    auto caches = model->make_caches(1, 8);
    calm::detail::TokenStep<Model> step;
    for (Index i = 0; i < 3; ++i) {
      const calm::detail::Reading reading{std::span(&i, 1), static_cast<std::size_t>(i), 1};
      step.read(*model, std::span(&reading, 1), caches);
    }
    return step.recorded();
  };
  REQUIRE(recorded(make<Plain<double, Cuda>>(1)));
  REQUIRE(recorded(make<Everywhere<double, Cuda>>(1)));
  REQUIRE(recorded(make<Rich<double, Cuda>>(1)));
  REQUIRE_FALSE(recorded(make<Prefixed<double, Cuda>>(1)));
}

TEST_CASE("cuda model: what is drawn is what the host draws, and no logits come back for it") {
  const auto host = make<Plain<double, Cpu>>(seed());
  const auto gpu = make<Plain<double, Cuda>>(seed());
  std::vector<GenerateOptions> requests(4, {.max_new_tokens = 9, .log_probabilities = true});
  requests[0].temperature = 1.5;
  requests[1].temperature = 0.7, requests[1].top_k = 7, requests[1].min_p = 0.01;
  requests[2].temperature = 2, requests[2].top_p = 0.9, requests[2].top_k = 12;
  for (std::uint64_t r = 0; r < 4; ++r) requests[r].seed = seed() + r;  // the last one is greedy
  const auto completions_of = [&](const auto& model) {
    Decoder decoder(model, {.slots = 4, .capacity = 16});
    for (std::size_t r = 0; r < 4; ++r) decoder.submit({static_cast<Index>(1 + r), 2}, requests[r]);
    decoder.step();  // reads the prompts
    cuda::start_profile();
    decoder.run();
    std::size_t draws = 0, copies = 0;
    for (const auto& line : cuda::end_profile()) {
      draws += line.kernel == "draw_rows" ? line.launches : 0;
      copies += line.kernel == "copy_to_host" ? line.launches : 0;
    }
    std::vector<Completion> made;
    for (std::size_t r = 0; r < 4; ++r) made.push_back(*decoder.take(r));
    return std::tuple(std::move(made), draws, copies);
  };
  const auto [expected, none, no_copies] = completions_of(*host);
  const auto [found, draws, copies] = completions_of(*gpu);
  INFO("seed " << seed());
  REQUIRE(none == 0);
  REQUIRE(draws > 0);
  REQUIRE(copies == 0);
  for (std::size_t r = 0; r < 4; ++r) {
    REQUIRE(found[r].tokens == expected[r].tokens);
    require_close("log-probabilities", 9, expected[r].log_probabilities.data(), found[r].log_probabilities.data(), 100);
  }
}

TEST_CASE("cuda model: what a device cannot draw the host does, beside what it can") {
  const auto host = make<Plain<double, Cpu>>(seed());
  const auto gpu = make<Plain<double, Cuda>>(seed());
  std::vector<GenerateOptions> requests(4, {.max_new_tokens = 9, .temperature = 1.2, .seed = seed()});
  requests[1].repetition_penalty = 1.4;
  requests[2].policy = [](std::span<double> scores, std::span<const Index>) { scores[3] = impossible; };
  requests[3].alternatives = 2;
  const auto tokens_of = [&](const auto& model) {
    Decoder decoder(model, {.slots = 4, .capacity = 16});
    for (const auto& options : requests) decoder.submit({5, 6}, options);
    decoder.run();
    std::vector<std::vector<Index>> made;
    for (std::size_t r = 0; r < 4; ++r) made.push_back(decoder.take(r)->tokens);
    return made;
  };
  INFO("seed " << seed());
  REQUIRE(tokens_of(*gpu) == tokens_of(*host));
}

TEST_CASE("cuda model: log-probabilities behind recorded steps are the host's") {
  const auto host = make<Plain<double, Cpu>>(seed());
  const auto gpu = make<Plain<double, Cuda>>(seed());
  const GenerateOptions options{.max_new_tokens = 9, .log_probabilities = true};
  const auto log_probabilities_of = [&](const auto& model) {
    Decoder decoder(model, {.slots = 2, .capacity = 16});
    const auto first = decoder.submit({1, 2, 3}, options);
    decoder.step();
    const auto second = decoder.submit({4, 5}, options);  // joins while steps are recorded
    decoder.run();
    auto made = decoder.take(first)->log_probabilities;
    const auto rest = decoder.take(second)->log_probabilities;
    made.insert(made.end(), rest.begin(), rest.end());
    return made;
  };
  const auto a = log_probabilities_of(*host), b = log_probabilities_of(*gpu);
  REQUIRE(a.size() == b.size());
  require_close("log-probabilities", a.size(), a.data(), b.data(), 100);
}

TEST_CASE("cuda model: kept features give the loss of those computed") {
  const TemporaryFolder folder;
  const auto gpu = make<Everywhere<float, Cuda>>(seed());
  const auto batch = train::collate<Cuda>(random_examples());
  const auto loss_of = [&](const auto& model) {
    return static_cast<double>(on_host(value(model.loss(batch.tokens, batch.layout, batch.targets)))[0]);
  };
  INFO("seed " << seed());
  for (const train::KeptAs kept_as : {train::KeptAs::exact, train::KeptAs::bf16}) {
    const bool exact = kept_as == train::KeptAs::exact;
    train::FeatureCache cache(*gpu, {.path = folder / (exact ? "exact" : "bf16"), .kept_as = kept_as});
    const double computed = loss_of(cache);
    REQUIRE(computed == Approx(loss_of(*gpu)).epsilon(exact ? 1e-5 : 0.05));
    REQUIRE(cache.hits() == 0);
    REQUIRE(loss_of(cache) == computed);
    REQUIRE(cache.hits() == 3);
  }
}

TEST_CASE("cuda model: bf16 is near the host's bf16") {
  const auto host = make<Plain<bf16, Cpu>>(seed());
  const auto gpu = make<Plain<bf16, Cuda>>(seed());
  const auto a = step(*host), b = step(*gpu);
  INFO("seed " << seed());
  REQUIRE(b.loss == Approx(a.loss).epsilon(0.02));
}
