#include "calm/tensor/ops/gated_linear.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/gated.hpp"
#include "calm/tensor/ops/linear.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Wide>;
using W = Doubles<Narrow, Wide>;

TEST_CASE("gate and up as one product have the bits of two") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto gate = random_tensor<W>({}, 2), up = random_tensor<W>({}, 3);
  CHECK_FALSE(stands_behind(up, gate));
  const auto [first, second] = one_behind_another(gate, up);
  CHECK(stands_behind(second, first));
  const auto one = gated_linear(x, kernel::Activation::silu, first, second);
  const auto two = swiglu(linear(x, gate), linear(x, up));
  CHECK(std::equal(one.data(), one.data() + one.size(), two.data()));
  CHECK_THROWS_AS(gated_linear(x, kernel::Activation::silu, gate, up), Error);
}

TEST_CASE("gradients of gate and up as one product") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto weights = one_behind_another(random_tensor<W>({}, 2), random_tensor<W>({}, 3));
  for (const auto kind : {kernel::Activation::silu, kernel::Activation::gelu_tanh}) {
    check_gradients([&](const auto& a) { return gated_linear(a, kind, weights.first, weights.second); }, x);
  }
}
