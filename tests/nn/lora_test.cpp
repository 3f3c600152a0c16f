#include "calm/nn/lora.hpp"

#include <cstddef>
#include <string>

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "support/gradient_check.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using nn::LowRankLayers;

template <class Mode, class S = AnchorSpec, class T = double>
using Tuned = nn::Transformer<S, T, Cpu, Mode>;
using All = nn::LowRank<2>;
using AttentionAlone = nn::LowRank<3, 4, LowRankLayers::attention>;

template <class Model>
std::size_t trainable_of(Model& m) {
  std::size_t count = 0;
  nn::initialise_trainable(m);
  nn::for_each_trainable(m, [&](const std::string&, auto& p) { count += p.value().size(); });
  return count;
}

}  // namespace

TEMPLATE_TEST_CASE("a fresh correction changes no bit", "", All, AttentionAlone) {
  SmallAnchor<double> base;
  Tuned<TestType> tuned;
  nn::initialise(base, {.seed = 4, .deviation = 0.3});
  nn::initialise(tuned, {.seed = 4, .deviation = 0.3});
  const auto tokens = random_tokens(2, 7, 1);
  const auto layout = whole(2, 7);
  const auto expected = base.logits(tokens, layout);
  const auto found = value(tuned.logits(tokens, layout));
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(found[i] == expected[i]);
}

TEMPLATE_TEST_CASE("gradients of a corrected transformer agree with central differences", "", All, AttentionAlone) {
  Tuned<TestType> m;
  nn::initialise(m, {.seed = 4, .deviation = 0.3});
  nn::initialise_trainable(m, {.seed = 5});
  nn::for_each_trainable(m, [](const std::string& path, auto& p) {  // both factors away from zero
    nn::detail::assign_normal(p, {9, nn::detail::hash(path)}, 0.3);
  });
  const auto tokens = random_tokens(2, 5, 2), targets = random_tokens(2, 5, 3);
  const auto layout = whole(2, 5);
  const auto loss = [&] { return value(m.loss(tokens, layout, targets))[0]; };
  {
    Tape<Cpu> tape;
    const auto recording = tape.record();
    backward(m.loss(tokens, layout, targets));
  }
  nn::for_each_trainable(m, [&](const std::string& path, auto& p) {
    INFO(path);
    REQUIRE(p.gradient() != nullptr);
    for (const std::size_t i : {std::size_t{0}, p.value().size() / 2, p.value().size() - 1}) {
      const double slope = slope_at(p.mutable_value().mutable_data()[i], 2e-4, loss);
      CHECK(close(p.gradient()[i], slope, 1e-8));
    }
  });
}

TEST_CASE("corrections of attention alone leave the MLP frozen") {
  Tuned<AttentionAlone> m;
  std::size_t layers = 0;
  nn::for_each_trainable(m, [&](const std::string& path, auto&) {
    ++layers;
    CHECK(path.find(".self_attn.") != std::string::npos);
  });
  CHECK(layers == AnchorSpec::config.layers * 4 * 2);
}

TEMPLATE_TEST_CASE("the rank is the largest that a budget of parameters allows", "", AnchorSpec, AugmentSpec) {
  const auto check = [](auto mode, LowRankLayers layers, std::size_t budget) {
    Tuned<decltype(mode), TestType> m;
    const std::size_t cost = nn::low_rank_cost(TestType::config, layers);
    CHECK(trainable_of(m) == mode.rank * cost);
    CHECK(trainable_of(m) <= budget);
    CHECK(trainable_of(m) + cost > budget);
  };
  check(nn::LowRankFor<TestType, 9000>{}, LowRankLayers::all, 9000);
  check(nn::LowRankFor<TestType, 9000, LowRankLayers::attention>{}, LowRankLayers::attention, 9000);
  constexpr std::size_t one = nn::low_rank_cost(TestType::config);
  check(nn::LowRankFor<TestType, one>{}, LowRankLayers::all, one);
}
