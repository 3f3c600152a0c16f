#include "calm/tensor/ops/rope.hpp"

#include <cmath>
#include <numbers>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Two, Narrow>;
using Positions = Indices<Batch, Time>;

static_assert(Rotatable<X, Positions>);
static_assert(Rotatable<Var<X>, Positions>);
static_assert(!Rotatable<X, Indices<Time, Batch>>);
static_assert(!Rotatable<X, Doubles<Batch, Time>>, "positions are indices");
static_assert(!Rotatable<Doubles<Batch, Time, Two, Three>, Positions>, "three elements make no pairs");

TEST_CASE("rope turns pairs by position times frequency") {
  const auto x = Floats<Batch, Time, One, Narrow>::from(Shape<Batch, Time, One, Narrow>(1, 1), {1, 2, 3, 4});
  const auto p = Positions::from(Shape<Batch, Time>(1, 1), {5});
  const double fast = 5, slow = 5 * 0.01;  // theta^(-2/4) = 0.01

  const auto split = rope(x, p, 1e4);
  CHECK(split[0] == Approx(1 * std::cos(fast) - 3 * std::sin(fast)));
  CHECK(split[2] == Approx(3 * std::cos(fast) + 1 * std::sin(fast)));
  CHECK(split[1] == Approx(2 * std::cos(slow) - 4 * std::sin(slow)));
  CHECK(split[3] == Approx(4 * std::cos(slow) + 2 * std::sin(slow)));

  const auto pairs = rope(x, p, 1e4, RopeLayout::interleaved);
  CHECK(pairs[0] == Approx(1 * std::cos(fast) - 2 * std::sin(fast)));
  CHECK(pairs[1] == Approx(2 * std::cos(fast) + 1 * std::sin(fast)));
  CHECK(pairs[2] == Approx(3 * std::cos(slow) - 4 * std::sin(slow)));
  CHECK(pairs[3] == Approx(4 * std::cos(slow) + 3 * std::sin(slow)));
}

TEST_CASE("rope at position 0 changes nothing, bit for bit") {
  const auto x = random_tensor<Floats<Batch, Time, Two, Narrow>>(Shape<Batch, Time, Two, Narrow>(2, 3), 1);
  const auto y = rope(x, Positions::zeros(Shape<Batch, Time>(2, 3)), 1e4);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(y[i] == x[i]);
}

TEST_CASE("rope keeps its digits at large positions") {
  const auto x = Floats<Batch, Time, One, Two>::from(Shape<Batch, Time, One, Two>(1, 1), {1, 0});
  const auto y = rope(x, Positions::from(Shape<Batch, Time>(1, 1), {1'000'003}), 1e4);
  CHECK(y[0] == Approx(std::cos(1'000'003.0)).epsilon(1e-6));
  CHECK(y[1] == Approx(std::sin(1'000'003.0)).epsilon(1e-6));
}

TEST_CASE("after rope, a product of two heads depends on their distance alone") {
  const auto q = random_tensor<Doubles<Batch, Time, One, Narrow>>(Shape<Batch, Time, One, Narrow>(1, 1), 1);
  const auto k = random_tensor<Doubles<Batch, Time, One, Narrow>>(Shape<Batch, Time, One, Narrow>(1, 1), 2);
  const auto at = [](Index i) { return Positions::from(Shape<Batch, Time>(1, 1), {i}); };
  const double near = sum(rope(q, at(9), 1e4) * rope(k, at(4), 1e4))[0];
  const double far = sum(rope(q, at(1009), 1e4) * rope(k, at(1004), 1e4))[0];
  CHECK(near == Approx(far).epsilon(1e-10));
}

TEST_CASE("rope refuses positions of another length") {
  const auto x = X::zeros(Shape<Batch, Time, Two, Narrow>(2, 3));
  CHECK_THROWS_WITH(rope(x, Positions::zeros(Shape<Batch, Time>(2, 4)), 1e4),
                    "calm::rope: x has 2 by 3 places, the positions 2 by 4");
}

TEST_CASE("rope turns a part of each head, and leaves the rest") {
  const auto x = Floats<Batch, Time, One, Narrow>::from(Shape<Batch, Time, One, Narrow>(1, 1), {1, 2, 3, 4});
  const auto p = Positions::from(Shape<Batch, Time>(1, 1), {5});
  const auto y = rope(x, p, RopeOptions{.turned = 2});
  CHECK(y[0] == Approx(1 * std::cos(5.0) - 2 * std::sin(5.0)));
  CHECK(y[1] == Approx(2 * std::cos(5.0) + 1 * std::sin(5.0)));
  CHECK(y[2] == 3);
  CHECK(y[3] == 4);
}

TEST_CASE("frequencies for longer contexts") {
  CHECK(rope_frequency({.theta = 100, .scaling = RopeScaling::linear, .factor = 8}, 1, 4) == Approx(0.1 / 8));
  // Llama 3.1's: `_compute_llama3_parameters` of transformers 4.46 at head width 128.
  const RopeOptions llama{.theta = 500000, .scaling = RopeScaling::llama3, .factor = 8};
  CHECK(rope_frequency(llama, 0, 128) == 1);
  CHECK(rope_frequency(llama, 63, 128) == Approx(std::pow(500000.0, -126.0 / 128) / 8));
  const double plain = std::pow(500000.0, -64.0 / 128), turns = 8192 * plain / (2 * std::numbers::pi);
  REQUIRE(turns > 1);
  REQUIRE(turns < 4);
  const double fast = (turns - 1) / 3;
  CHECK(rope_frequency(llama, 32, 128) == Approx((1 - fast) * plain / 8 + fast * plain));
}

TEST_CASE("YaRN and LongRoPE: pairs between fast and slow ones, factors of their own, a magnitude") {
  // `_compute_yarn_parameters` of transformers 5.23 at head width 128.
  const RopeOptions yarn{.theta = 1e6, .scaling = RopeScaling::yarn, .factor = 4, .low_frequency = 1,
                         .high_frequency = 32, .original_context = 32768};
  CHECK(rope_frequency(yarn, 10, 128) == Approx(0.11547820270061493).epsilon(1e-6));
  CHECK(rope_frequency(yarn, 23, 128) == Approx(0.006978305988013744).epsilon(1e-6));
  CHECK(rope_frequency(yarn, 24, 128) == Approx(0.005375321488827467).epsilon(1e-6));
  CHECK(rope_frequency(yarn, 35, 128) == Approx(0.0002462583943270147).epsilon(1e-6));
  CHECK(rope_frequency(yarn, 63, 128) == Approx(3.102344408034696e-07).epsilon(1e-6));
  RopeOptions factors{.theta = 100, .scaling = RopeScaling::longrope, .magnitude = 1.5, .pair_factors = {2, 4}};
  CHECK(rope_frequency(factors, 1, 4) == Approx(0.1 / 4));
  const auto x = Floats<Batch, Time, One, Narrow>::from(Shape<Batch, Time, One, Narrow>(1, 1), {1, 2, 3, 4});
  const auto p = Positions::from(Shape<Batch, Time>(1, 1), {5});
  factors.turned = 2;
  const auto y = rope(x, p, factors);
  CHECK(y[0] == Approx(1.5 * (1 * std::cos(2.5) - 2 * std::sin(2.5))));
  CHECK(y[1] == Approx(1.5 * (2 * std::cos(2.5) + 1 * std::sin(2.5))));
  CHECK(y[2] == 3);
  CHECK(y[3] == 4);
}

TEST_CASE("gradients of rope") {
  auto x = random_parameter<X>(Shape<Batch, Time, Two, Narrow>(2, 3), 1);
  const auto p = Positions::from(Shape<Batch, Time>(2, 3), {0, 1, 2, 700, 3, 50});
  check_gradients([&](const auto& a) { return rope(a, p, RopeOptions{.turned = 2}); }, x);
  check_gradients([&](const auto& a) { return rope(a, p, 1e4); }, x);
  check_gradients([&](const auto& a) { return rope(a, p, RopeOptions{.magnitude = 1.5}); }, x);
  check_gradients([&](const auto& a) { return rope(a, p, 5e5, RopeLayout::interleaved); }, x);
  const auto table = rotations<Narrow, double>(p, RopeOptions{.theta = 1e4});
  check_gradients([&](const auto& a) { return rope(a, table); }, x);
}
