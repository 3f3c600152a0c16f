// The two halves of a loss: what no bridge changes, and the rest.

#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/graft.hpp"
#include "calm/compose/join_softmax.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

/// m.loss(m.features(…)) has the bits of m.loss(…), and so have its gradients.
template <class Model>
void check_halves() {
  const auto s = subject<Model>(true);
  for (const Arrangement how : {Arrangement::right, Arrangement::left, Arrangement::packed}) {
    const Arranged a = arrange(random_texts(5, 9, s->vocab, 3), how);
    const auto features = s->model.features(a.tokens, a.layout);
    CHECK(value(s->model.loss(features, a.layout, a.targets))[0] == s->loss(a.tokens, a.layout, a.targets));

    s->differentiate(a.tokens, a.layout, a.targets);
    std::vector<std::vector<double>> gradients;
    for (const ParameterView& p : s->parameters()) {
      REQUIRE(p.gradient != nullptr);
      gradients.emplace_back(p.gradient, p.gradient + p.size);
    }
    nn::for_each_trainable(s->model, [](const std::string&, auto& p) { p.zero_gradient(); });
    Tape<Cpu> tape;
    {
      const auto recording = tape.record();
      backward(s->model.loss(features, a.layout, a.targets));
    }
    std::size_t i = 0;
    for (const ParameterView& p : s->parameters()) {
      INFO(p.path);
      CHECK(same_bits(gradients[i++], {p.gradient, p.gradient + p.size}));
    }
  }
}

struct Mixed {
  static constexpr BridgeConfig config{.mask = BridgeMask::prefix, .mix = 2};
};

using Anchor = SmallAnchor<double>;
using First = With<SmallAugment<double>, SmallLinks>;
using Second = With<SmallAugment<double>, LayerMap<Link<1, 2>, Link<3, 3>>, Mixed>;

}  // namespace

TEST_CASE("a loss from features has the bits of the loss, and so have its gradients") {
  check_halves<Compose<Anchor, First>>();
  check_halves<Compose<Anchor, With<SmallAugment<double>, LayerMap<Link<0, 0>>>>>();
  check_halves<Compose<Anchor, First, Second>>();
  check_halves<Compose<Anchor, join::JointSoftmax, First, Second>>();
  check_halves<Compose<Anchor, join::Router, First, Second>>();
}

TEST_CASE("features do not depend on the bridges, nor on whether they are on") {
  const auto s = subject<Compose<Anchor, First, Second>>(true);
  const Arranged a = arrange(random_texts(3, 9, s->vocab, 3), Arrangement::right);
  const auto before = s->model.features(a.tokens, a.layout);
  randomise(*s, 77);
  s->set_scales(0);
  const auto after = s->model.features(a.tokens, a.layout);
  CHECK(same_bits(test::detail::numbers(before.anchor), test::detail::numbers(after.anchor)));
  CHECK(same_bits(test::detail::numbers(std::get<1>(before.linked)[1][0]),
                  test::detail::numbers(std::get<1>(after.linked)[1][0])));
}
