#include "calm/tensor/ops/squash.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

// The result alone is kept.
static_assert(sizeof(calm::detail::SquashNode<Doubles<Wide>>) == sizeof(Doubles<Wide>) + 2 * sizeof(Slot));

TEST_CASE("tanh and the logistic function against their formulas, over the whole range") {
  Floats<Time> x(Shape<Time>(4001));
  for (std::size_t i = 0; i < x.size(); ++i) x.mutable_data()[i] = (static_cast<float>(i) - 2000) * 0.01f;
  const auto t = calm::tanh(x), s = sigmoid(x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = double(x[i]);
    CHECK(close(t[i], std::tanh(v), 1e-6));
    CHECK(close(s[i], 1 / (1 + std::exp(-v)), 1e-6));
  }
}

TEST_CASE("tanh is exactly 0 at 0, and keeps its digits beside it") {
  const auto t = calm::tanh(Floats<Two>::from({}, {0.0f, 1e-4f}));
  CHECK(t[0] == 0.0f);
  CHECK(std::abs(t[1] / 1e-4f - 1) < 1e-6f);
}

TEST_CASE("tanh and the logistic function saturate without a NaN") {
  const auto x = Floats<Two>::from({}, {-1e4f, 1e4f});
  const auto t = calm::tanh(x), s = sigmoid(x);
  CHECK(t[0] == -1);
  CHECK(t[1] == 1);
  CHECK(std::abs(s[0]) < 1e-30f);
  CHECK(s[1] == 1);
}

TEST_CASE("gradients of tanh and the logistic function") {
  auto x = random_parameter<Doubles<Batch, Wide>>(Shape<Batch, Wide>(4), 1, 0, 2);
  check_gradients([](const auto& a) { return calm::tanh(a); }, x);
  check_gradients([](const auto& a) { return sigmoid(a); }, x);
}
