#include "calm/compose/two_way.hpp"

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

using Anchor = SmallAnchor<double>;
using Augment = SmallAugment<double>;

/// The anchor hears augment layers 0 and 2, which has heard the anchor by then.
using Ping = TwoWay<Augment, SmallLinks, LayerMap<Link<0, 1>, Link<1, 2>>>;
/// Two anchor layers speak to one augment layer, one of them to two; other options on the way back.
struct BackOptions {
  static constexpr BridgeConfig config{.heads = 1, .sink = false, .gate = BridgeGate::tanh, .rank = 3};
};
using Many = TwoWay<Augment, LayerMap<Link<0, 1>, Link<3, 2>, Link<2, 3>>, LayerMap<Link<0, 1>, Link<1, 1>, Link<1, 2>>,
                    bridge::Normalised, BackOptions>;

using Model = Compose<Anchor, Ping>;

}  // namespace

TEST_CASE("a composition both ways starts as the anchor, is causal, decodes and differentiates exactly") {
  check_owed<Model>();
  check_owed<Compose<Anchor, Many>>();
  check_owed<Compose<Anchor, Many, With<Augment, LayerMap<Link<1, 1>>>>>();
}

TEST_CASE("the gradient of every parameter of both ways is that of central differences") {
  const auto s = subject<Model>(true);
  check_gradients_of(*s, arrange(random_texts(2, 5, s->vocab, 3), Arrangement::left), 1, 12);
}

TEST_CASE("at the start the augment hears nothing that changes it, and can learn to once the anchor listens") {
  const auto s = subject<Model>(false);
  check_can_learn(*s, arrange(random_texts(3, 9, s->vocab, 3), Arrangement::right));
  for (auto& bridge : s->model.bridges) {
    nn::for_each_trainable(bridge, [](const std::string& path, auto& p) {
      nn::detail::assign_normal(p, {4, nn::detail::hash(path)}, 0.3);
    });
  }
  const auto a = arrange(random_texts(3, 9, s->vocab, 3), Arrangement::right);
  s->differentiate(a.tokens, a.layout, a.targets);
  for (auto& bridge : s->model.back) {
    REQUIRE(gradient(bridge.o_proj.weight) != nullptr);
    CHECK(std::abs(gradient(bridge.o_proj.weight)[0]) > 0);
  }
}

TEST_CASE("with what the augment hears off, both ways are one way, bit for bit") {
  const auto both = subject<Model>(true);
  const auto one = subject<Compose<Anchor, With<Augment, SmallLinks>>>(true);
  one->model.anchor = both->model.anchor;
  one->model.augment = both->model.augment;
  one->model.bridges = both->model.bridges;
  const auto a = arrange(random_texts(4, 9, both->vocab, 3), Arrangement::packed);
  CHECK(!same_bits(both->logits(a.tokens, a.layout), one->logits(a.tokens, a.layout)));
  both->model.back_scale.fill(0);
  CHECK(same_bits(both->logits(a.tokens, a.layout), one->logits(a.tokens, a.layout)));
}

TEST_CASE("what the augment says next depends on what the anchor said, and on each link back") {
  const auto s = subject<Compose<Anchor, Many>>(true);
  const auto a = arrange(random_texts(2, 9, s->vocab, 3), Arrangement::right);
  const auto all = s->logits(a.tokens, a.layout);
  for (std::size_t k = 0; k < 3; ++k) {
    s->model.back_scale.fill(1);
    s->model.back_scale[k] = 0;
    CHECK(test::detail::largest_difference(all, s->logits(a.tokens, a.layout)) > 1e-4);
  }
}
