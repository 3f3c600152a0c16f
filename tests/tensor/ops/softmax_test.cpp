#include "calm/tensor/ops/softmax.hpp"

#include <cmath>
#include <limits>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

TEST_CASE("softmax against its formula") {
  const auto x = random_tensor<Floats<Batch, Wide>>(Shape<Batch, Wide>(4), 1, 0, 3);
  const auto y = softmax(x);
  for (std::size_t r = 0; r < 4; ++r) {
    double total = 0;
    for (std::size_t c = 0; c < 6; ++c) total += std::exp(static_cast<double>(x[r * 6 + c]));
    for (std::size_t c = 0; c < 6; ++c) {
      CHECK(close(y[r * 6 + c], std::exp(static_cast<double>(x[r * 6 + c])) / total, 1e-6));
    }
  }
}

TEST_CASE("softmax of large and infinite elements") {
  constexpr float none = -std::numeric_limits<float>::infinity();
  const auto y = softmax(Floats<Narrow>::from({}, {1000, 1000, none, -1000}));
  CHECK(y[0] == 0.5f);
  CHECK(y[1] == 0.5f);
  CHECK(y[2] == 0);
  CHECK(y[3] == 0);
}

TEST_CASE("softmax over a dynamic last axis") {
  const auto y = softmax(Floats<Batch, Time>::zeros(Shape<Batch, Time>(2, 5)));
  CHECK(y[7] == Approx(0.2));
}

TEST_CASE("gradients of softmax") {
  auto x = random_parameter<Doubles<Batch, Wide>>(Shape<Batch, Wide>(3), 1);
  check_gradients([](const auto& a) { return softmax(a); }, x);
  check_gradients([](const auto& a) { return softmax(a * a); }, x);
}
