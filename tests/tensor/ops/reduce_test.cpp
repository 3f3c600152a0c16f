#include "calm/tensor/ops/reduce.hpp"

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

static_assert(Reducible<Floats<Batch, Time, Wide>, Time>);
static_assert(!Reducible<Floats<Batch, Time, Wide>, Twin>);
static_assert(!Reducible<Floats<Batch, Wide, Wide>, Wide>);
static_assert(std::is_same_v<decltype(sum<Time>(Floats<Batch, Time, Wide>{})), Floats<Batch, Wide>>);
static_assert(std::is_same_v<decltype(sum<Wide>(Floats<Wide>{})), Floats<One>>);

TEST_CASE("sum and mean remove the axis that they name") {
  const auto x = Floats<Batch, Two, Three>::from(Shape<Batch, Two, Three>(2), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});

  const Floats<Two, Three> over_batch = sum<Batch>(x);
  CHECK(over_batch[0] == 8);
  CHECK(over_batch[5] == 18);

  const Floats<Batch, Three> over_two = mean<Two>(x);
  CHECK(over_two.extent(0) == 2);
  CHECK(over_two[0] == 2.5f);
  CHECK(over_two[5] == 10.5f);

  const Floats<Batch, Two> over_last = sum<Three>(x);
  CHECK(over_last[0] == 6);
  CHECK(over_last[3] == 33);

  CHECK(sum(x)[0] == 78);
  CHECK(mean(x)[0] == 6.5f);
}

TEST_CASE("a long sum in float is exact to rounding") {
  const auto x = Floats<Time>::full(Shape<Time>(3'000'001), 0.1f);
  CHECK(sum(x)[0] == Approx(3'000'001 * static_cast<double>(0.1f)).epsilon(1e-6));
}

TEST_CASE("gradients of sum and mean") {
  auto x = random_parameter<Doubles<Batch, Three, Two>>(Shape<Batch, Three, Two>(2), 1);
  check_gradients([](const auto& a) { return sum<Batch>(a); }, x);
  check_gradients([](const auto& a) { return mean<Three>(a); }, x);
  check_gradients([](const auto& a) { return sum<Two>(a); }, x);
  check_gradients([](const auto& a) { return sum(a); }, x);
  check_gradients([](const auto& a) { return mean(a); }, x);
}
