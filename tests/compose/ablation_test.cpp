// Links that are off for a while, and what the composition says without them.
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/ablation.hpp"
#include "calm/compose/two_way.hpp"
#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

using Forward = With<SmallAugment<double>, SmallLinks>;
using Both = TwoWay<SmallAugment<double>, LayerMap<Link<2, 3>>, LayerMap<Link<1, 2>>>;

template <class Model>
std::unique_ptr<Model> make_any() {
  auto m = std::make_unique<Model>();
  nn::initialise(m->anchor, {.seed = 1, .deviation = 0.3});
  m->for_each_branch([](auto i, auto& b) { nn::initialise(b.augment, {.seed = 2 + i, .deviation = 0.3}); });
  nn::initialise_trainable(*m, {.seed = 8, .deviation = 0.3});
  return m;
}

}  // namespace

TEST_CASE("a link is off as long as its guard lives, and then as it was") {
  const auto m = make_any<Compose<SmallAnchor<double>, Forward>>();
  m->scale = {0.75, 1};
  {
    auto first = without_link(*m, 0, 0);
    CHECK(m->scale == std::array<double, 2>{0, 1});
    const LinkOff moved = std::move(first);
    CHECK(m->scale == std::array<double, 2>{0, 1});
    const LinkOff again = without_link(*m, 0, 0), second = without_link(*m, 0, 1);
    CHECK(m->scale == std::array<double, 2>{0, 0});
  }
  CHECK(m->scale == std::array<double, 2>{0.75, 1});
  try {
    const LinkOff off = without_link(*m, 0, 1);
    throw std::runtime_error("on the way");
  } catch (const std::runtime_error&) {
  }
  CHECK(m->scale == std::array<double, 2>{0.75, 1});
  CHECK_THROWS_WITH(without_link(*m, 0, 2),
                    "calm::without_link: no link 2 of augment 0; the links, numbered from 0 for each augment, are "
                    "augment 0: 0 > 1; augment 0: 2 > 2");
}

TEST_CASE("an ablation is the loss with each link off, and restores the model") {
  const auto m = make_any<Compose<SmallAnchor<double>, Forward, Both>>();
  const auto tokens = random_tokens(2, 7, 1), targets = random_tokens(2, 7, 2);
  const auto layout = whole(2, 7);
  auto& one = m->template branch<0>();
  auto& two = m->template branch<1>();
  one.scale = {1, 0.5};
  const auto loss = [&] { return value(m->loss(tokens, layout, targets))[0]; };
  const Ablation a = ablate(*m, tokens, layout, targets);
  CHECK(one.scale == std::array<double, 2>{1, 0.5});
  CHECK(two.back_scale == std::array<double, 1>{1});
  CHECK(a.all_on == loss());
  CHECK(a.all_off == value(m->anchor.loss(tokens, layout, targets))[0]);
  REQUIRE(a.without.size() == 4);
  CHECK(to_string(a.without[3].place) == "augment 1, back: 1 > 2");
  one.scale[1] = 0;
  CHECK(a.without[1].loss == loss());
  one.scale[1] = 0.5;
  two.scale[0] = 0;
  CHECK(a.without[2].loss == loss());
  two.scale[0] = 1;
  two.back_scale[0] = 0;
  CHECK(a.without[3].loss == loss());
  for (const auto& w : a.without) CHECK(w.loss != a.all_on);
}

TEST_CASE("an ablation as a table") {
  CHECK(to_string(Ablation{1, {{{0, 0, Direction::forward, 2, 1}, 1.5}}, 4.25}) ==
        "everything on                 1.0000     +0.0000\n"
        "without augment 0: 2 > 1      1.5000     +0.5000\n"
        "everything off (anchor)       4.2500     +3.2500\n");
}
