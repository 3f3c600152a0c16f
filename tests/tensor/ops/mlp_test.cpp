#include "calm/tensor/ops/mlp.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/arithmetic.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Wide>;
using Up = Doubles<Narrow, Wide>;
using Down = Doubles<Wide, Narrow>;

TEST_CASE("an MLP in one operation has the bits of its parts") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto up = random_tensor<Up>({}, 2);
  const auto down = random_tensor<Down>({}, 3);
  const auto up_bias = random_tensor<Doubles<Narrow>>({}, 4);
  const auto down_bias = random_tensor<Doubles<Wide>>({}, 5);
  const auto y = mlp(x, kernel::Activation::gelu_tanh, up, up_bias, down, down_bias);
  const auto parts = linear(gelu_tanh(linear(x, up) + up_bias), down) + down_bias;
  CHECK(std::equal(y.data(), y.data() + y.size(), parts.data()));
}

TEST_CASE("gradients of an MLP") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  auto up = random_parameter<Up>({}, 2);
  auto down = random_parameter<Down>({}, 3);
  auto up_bias = random_parameter<Doubles<Narrow>>({}, 4);
  auto down_bias = random_parameter<Doubles<Wide>>({}, 5);
  for (const auto kind : {kernel::Activation::gelu, kernel::Activation::gelu_tanh}) {
    check_gradients([kind](const auto& a, const auto& u, const auto& v, const auto& d, const auto& e) {
      return mlp(a, kind, u, v, d, e);
    }, x, up, up_bias, down, down_bias);
  }
}

TEST_CASE("through frozen weights an MLP keeps the activation's operand alone") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto up = random_tensor<Up>({}, 2);
  const auto down = random_tensor<Down>({}, 3);
  const auto up_bias = random_tensor<Doubles<Narrow>>({}, 4);
  const auto down_bias = random_tensor<Doubles<Wide>>({}, 5);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  auto held = x() + x();
  const std::size_t before = CpuPool::instance().use().live;
  const auto y = mlp(held, kernel::Activation::gelu, up, up_bias, down, down_bias);
  const std::size_t kept = CpuPool::block_bytes(6 * Narrow::extent * sizeof(double));
  CHECK(CpuPool::instance().use().live == before + kept + CpuPool::block_bytes(value(y).size() * sizeof(double)));
  CHECK_NOTHROW(held.value.mutable_data());
}
