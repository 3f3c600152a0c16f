#include "calm/tensor/ops/activation.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

TEST_CASE("activations against their formulas, over the whole range") {
  Floats<Time> x(Shape<Time>(4001));
  for (std::size_t i = 0; i < x.size(); ++i) x.mutable_data()[i] = (static_cast<float>(i) - 2000) * 0.01f;
  const auto s = silu(x), g = gelu(x), t = gelu_tanh(x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    CHECK(close(s[i], v / (1 + std::exp(-v)), 1e-6));
    CHECK(close(g[i], 0.5 * v * std::erfc(-v / std::sqrt(2.0)), 1e-6));
    const double u = std::sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v);
    CHECK(close(t[i], 0.5 * v * (1 + std::tanh(u)), 1e-6));
  }
}

TEST_CASE("activations saturate without a NaN") {
  const auto x = Floats<Two>::from({}, {-1e4f, 1e4f});
  for (const auto& y : {silu(x), gelu(x), gelu_tanh(x)}) {
    CHECK(std::abs(y[0]) < 1e-30f);
    CHECK(y[1] == 1e4f);
  }
}

TEST_CASE("gradients of the activations") {
  auto x = random_parameter<Doubles<Batch, Wide>>(Shape<Batch, Wide>(4), 1, 0, 2);
  check_gradients([](const auto& a) { return silu(a); }, x);
  check_gradients([](const auto& a) { return gelu(a); }, x);
  check_gradients([](const auto& a) { return gelu_tanh(a); }, x);
}
