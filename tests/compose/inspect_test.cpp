// What is said of a composition's links, against the same numbers taken another way.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/attention_weights.hpp"
#include "calm/compose/graft.hpp"
#include "calm/compose/inspect.hpp"
#include "calm/compose/join_softmax.hpp"
#include "calm/compose/two_way.hpp"
#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

template <class Map, class Options = bridge::Normalised>
using Part = With<SmallAugment<double>, Map, Options>;
using Last = LayerMap<Link<0, 3>, Link<2, 3>>;  // the anchor's last layer: nothing comes behind

/// All models at random, bridges as after training.
template <class Model>
std::unique_ptr<Model> make_any() {
  auto m = std::make_unique<Model>();
  nn::initialise(m->anchor, {.seed = 1, .deviation = 0.3});
  m->for_each_branch([](auto i, auto& b) { nn::initialise(b.augment, {.seed = 2 + i, .deviation = 0.3}); });
  m->initialise_bridges(7);
  nn::initialise_trainable(*m, {.seed = 8, .deviation = 0.3});
  return m;
}

/// Three texts, two of them padded, one on the left.
nn::Layout<Cpu> padded() {
  const std::vector<Index> lengths{7, 3, 5};
  return nn::pad_left<Cpu>(lengths, 7);
}

double norm(const double* x, std::size_t n) {
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += x[i] * x[i];
  return std::sqrt(squares);
}
/// The mean of ‖with - without‖ / ‖without‖ over the 15 tokens of `padded()`.
template <class X>
double mean_ratio(const X& with, const X& without) {
  const std::size_t width = with.extent(2);
  const auto layout = padded();
  double sum = 0;
  for (std::size_t row = 0; row < 21; ++row) {
    if (layout.is_padding(row / 7, row % 7)) continue;
    std::vector<double> f(width);
    for (std::size_t c = 0; c < width; ++c) f[c] = with[row * width + c] - without[row * width + c];
    sum += norm(f.data(), width) / norm(without.data() + row * width, width);
  }
  return sum / 15;
}

}  // namespace

TEST_CASE("a link's strength is the size of what it adds beside the state that it adds to") {
  const auto m = make_any<Compose<SmallAnchor<double>, Part<Last>>>();
  const auto tokens = random_tokens(3, 7, 1);
  const auto states = [&](double first, double second) {
    m->scale = {first, second};
    return value(m->states(tokens, padded()));
  };
  const auto none = states(0, 0), one = states(1, 0), other = states(0, -0.5), both = states(1, -0.5);
  const auto found = inspect(*m, tokens, padded());
  REQUIRE(found.links.size() == 2);
  CHECK(found.links[0].strength == Approx(mean_ratio(one, none)).epsilon(1e-9));
  CHECK(found.links[1].strength == Approx(mean_ratio(other, none)).epsilon(1e-9));
  CHECK(found.links[1].scale == -0.5);
  CHECK(found.links[0].strength > 0.05);
  m->scale[1] = 0;
  CHECK(inspect(*m, tokens, padded()).links[1].strength == 0);
}

TEST_CASE("who looks changes no bit") {
  const auto m = make_any<Compose<SmallAnchor<double>, Part<SmallLinks>, Part<Last>>>();
  const auto tokens = random_tokens(3, 7, 2);
  const auto plain = value(m->states(tokens, padded()));
  const auto seen = value(m->observed_states(tokens, padded(), [](auto) { return detail::Unobserved{}; }));
  CHECK(std::memcmp(plain.data(), seen.data(), plain.size() * sizeof(double)) == 0);
}

TEST_CASE("links of several augments are told apart") {
  using Two = Compose<SmallAnchor<double>, Part<LayerMap<Link<1, 3>>>, Part<Last>>;
  const auto m = make_any<Two>();
  const auto tokens = random_tokens(3, 7, 3);
  const auto all = inspect(*m, tokens, padded()).links;
  REQUIRE(all.size() == 3);
  CHECK((all[0].place.branch == 0 && all[0].place.from == 1 && all[0].place.to == 3));
  CHECK((all[2].place.branch == 1 && all[2].place.link == 1 && all[2].place.from == 2));
  m->template branch<0>().scale = {0};
  m->template branch<1>().scale = {0, 1};
  const auto alone = value(m->states(tokens, padded()));
  m->template branch<1>().scale = {0, 0};
  CHECK(all[2].strength == Approx(mean_ratio(alone, value(m->states(tokens, padded())))).epsilon(1e-9));
}

TEST_CASE("what the augment hears of the anchor is reported, too") {
  using Both = TwoWay<SmallAugment<double>, LayerMap<Link<2, 3>>, LayerMap<Link<1, 2>>>;
  const auto m = make_any<Compose<SmallAnchor<double>, Both>>();
  const auto tokens = random_tokens(3, 7, 4);
  const auto layout = padded();
  const auto all = inspect(*m, tokens, layout).links;
  REQUIRE(all.size() == 2);
  CHECK(all[1].place.direction == Direction::back);
  CHECK(to_string(all[1].place) == "augment 0, back: 1 > 2");
  const auto h = m->augment.run(m->augment.embed(tokens, layout), 0, 3, layout);
  const auto said = rename<Time, Source>(m->anchor.run(m->anchor.embed(tokens, layout), 0, 2, layout));
  const auto f = value(m->back[0](h, said, layout.keys));
  CHECK(all[1].strength == Approx(mean_ratio(value(h + f), h)).epsilon(1e-9));
  CHECK(all[1].sink.has_value());
}

namespace {

template <BridgeGate Gate>
struct Gated {
  static constexpr BridgeConfig config{.gate = Gate};
};

template <BridgeGate Gate>
LinkReport report_of() {
  const auto m = make_any<Compose<SmallAnchor<double>, Part<LayerMap<Link<2, 1>>, Gated<Gate>>>>();
  if constexpr (Gate == BridgeGate::tanh) m->bridges[0].gate.mutable_value().mutable_data()[0] = 0.5;
  if constexpr (Gate == BridgeGate::tanh_per_head) m->bridges[0].gate.mutable_value().mutable_data()[3] = -2;
  if constexpr (Gate == BridgeGate::sigmoid) {
    nn::detail::assign_constant(m->bridges[0].gate.weight, 0);
    m->bridges[0].gate.bias.mutable_value().mutable_data()[1] = 3;
  }
  return inspect(*m, random_tokens(3, 7, 5), padded()).links[0];
}

}  // namespace

TEST_CASE("gates are what they multiply by") {
  CHECK(report_of<BridgeGate::none>().gate.empty());
  CHECK(report_of<BridgeGate::tanh>().gate == std::vector<double>{std::tanh(0.5)});
  const auto heads = report_of<BridgeGate::tanh_per_head>().gate;
  REQUIRE(heads.size() == 4);
  CHECK(heads[3] == Approx(std::tanh(-2.0)));
  const auto sigmoids = report_of<BridgeGate::sigmoid>().gate;
  REQUIRE(sigmoids.size() == 4);
  CHECK(sigmoids[0] == Approx(0.5));
  CHECK(sigmoids[1] == Approx(1 / (1 + std::exp(-3.0))));
}

TEST_CASE("the sink's share is that of the attention weights") {
  const auto m = make_any<Compose<SmallAnchor<double>, Part<SmallLinks>>>();
  m->bridges[1].sink.mutable_value().mutable_data()[2] = 1.5;
  const auto tokens = random_tokens(3, 7, 6);
  const auto layout = padded();
  const auto weights = attention_weights(*m, 1, tokens, layout);
  double sum = 0;
  for (std::size_t b = 0; b < 3; ++b) {
    for (std::size_t head = 0; head < 4; ++head) {
      for (std::size_t t = 0; t < 7; ++t) {
        if (!layout.is_padding(b, t)) sum += weights.nothing[(b * 4 + head) * 7 + t];
      }
    }
  }
  const auto report = inspect(*m, tokens, layout).links[1];
  REQUIRE(report.sink.has_value());
  CHECK(*report.sink == Approx(sum / 60).epsilon(1e-9));
  CHECK(*report.sink > 0.05);

  const auto without = make_any<Compose<SmallAnchor<double>, Part<SmallLinks, bridge::Paper>>>();
  CHECK(!inspect(*without, tokens, layout).links[0].sink.has_value());
}

TEST_CASE("a joining policy's shares") {
  using A = Part<LayerMap<Link<2, 3>>>;
  const auto tokens = random_tokens(3, 7, 7);
  const auto joint = make_any<Compose<SmallAnchor<double>, join::JointSoftmax, A, A>>();
  const auto sum_of = [&](auto& m) {
    const auto all = inspect(m, tokens, padded()).links;
    REQUIRE((all[0].share && all[1].share));
    CHECK(*all[0].share != *all[1].share);
    return *all[0].share + *all[1].share;
  };
  CHECK(sum_of(*joint) < 0.99);  // the null key has its part
  nn::detail::assign_constant(joint->joined.null[0], -100);
  CHECK(sum_of(*joint) == Approx(1));
  const auto routed = make_any<Compose<SmallAnchor<double>, join::Router, A, A>>();
  CHECK(sum_of(*routed) == Approx(1));
  const auto summed = make_any<Compose<SmallAnchor<double>, A, A>>();
  CHECK(!inspect(*summed, tokens, padded()).links[0].share.has_value());
}

TEST_CASE("the distance from the start is none at the start, and then that of each parameter") {
  const auto m = make_small<Small<float>>(false, 1);  // bridges of seed 3
  const auto tokens = random_tokens(3, 7, 8);
  for (const LinkReport& r : inspect(*m, tokens, padded(), 3).links) {
    CHECK(r.moved.size() == 8);
    CHECK(r.distance().distance == 0);
    CHECK(r.distance().relative() == 0);
    CHECK(r.strength == 0);
  }
  CHECK(inspect(*m, tokens, padded(), 4).links[0].distance().relative() > 0.5);  // not the seed that it was given

  auto& k = m->bridges[1].k_proj.weight.mutable_value();
  auto* data = k.mutable_data();
  for (std::size_t i = 0; i < k.size(); ++i) data[i] *= 1.25f;
  m->bridges[1].o_proj.weight.mutable_value().mutable_data()[5] = 2;
  const auto moved = inspect(*m, tokens, padded(), 3).links[1].moved;
  for (const Moved& p : moved) {
    if (p.parameter == "k_proj.weight") {
      CHECK(p.relative() == Approx(0.25));
    } else if (p.parameter == "o_proj.weight") {
      CHECK((p.distance == 2 && p.start == 0));
    } else {
      CHECK(p.distance == 0);
    }
  }
  CHECK(inspect(*m, tokens, padded(), 3).links[0].distance().distance == 0);
}

TEST_CASE("bridges that the library does not know are measured by what they add") {
  using Wide = LayerMap<Link<2, 3>>;
  struct Twin {
    using Model = Compose<SmallAnchor<double>, With<nn::Transformer<AnchorSpec, double, Cpu>, Wide, graft::Sum>>;
  };
  const auto m = make_any<Twin::Model>();
  const auto tokens = random_tokens(3, 7, 9);
  const auto report = inspect(*m, tokens, padded()).links[0];
  const auto on = value(m->states(tokens, padded()));
  m->scale = {0};
  CHECK(report.strength == Approx(mean_ratio(on, value(m->states(tokens, padded())))).epsilon(1e-9));
  CHECK(report.moved.empty());
  CHECK(report.distance().relative() == 0);
}

TEST_CASE("a composition in bf16 is reported as its twin in fp32, within its rounding") {
  const auto wide = make_small<Small<float>>(true);
  const auto narrow = make_small<Small<bf16>>(true);
  const auto tokens = random_tokens(3, 7, 10);
  const auto a = inspect(*wide, tokens, padded(), 3).links, b = inspect(*narrow, tokens, padded(), 3).links;
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(a[i].strength == Approx(b[i].strength).epsilon(0.05));
    CHECK(*a[i].sink == Approx(*b[i].sink).epsilon(0.05));
    CHECK(a[i].distance().relative() == Approx(b[i].distance().relative()).epsilon(0.05));
  }
  const auto f = attention_weights(*wide, 0, tokens, padded()), h = attention_weights(*narrow, 0, tokens, padded());
  for (std::size_t i = 0; i < f.keys.size(); ++i) CHECK(f.keys[i] == Approx(h.keys[i]).margin(0.05));
}

TEST_CASE("an inspection as a table") {
  Inspection all{{LinkReport{.place = {0, 0, Direction::forward, 2, 1}, .strength = 0.25, .gate = {0.5}, .sink = 0.75},
                  LinkReport{.place = {1, 0, Direction::back, 3, 0}, .scale = 0}}};
  CHECK(to_string(all) ==
        "link                        scale  |F|/|H|  nothing    share    moved  gate\n"
        "augment 0: 2 > 1                1     0.25     0.75        -        0      0.5\n"
        "augment 1, back: 3 > 0          0        0        -        -        0\n");
}
