#include "calm/tensor/ops/pick.hpp"

#include <cmath>
#include <type_traits>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Source, Wide>;
using I = Indices<Batch, Time>;

static_assert(Pickable<X, I>);
static_assert(Pickable<Var<Doubles<Batch, Source, Two, Three>>, I>);
static_assert(!Pickable<X, Doubles<Batch, Time>>, "an index is an Index");
static_assert(!Pickable<X, Indices<Source, Time>>, "the index has x's first axis");
static_assert(!Pickable<X, Indices<Batch>>, "the index has two axes");
static_assert(std::is_same_v<decltype(pick(X{}, I{})), Doubles<Batch, Time, Wide>>);
static_assert(std::is_same_v<decltype(pick(Doubles<Batch, Time>{}, I{})), Doubles<Batch, Time>>);

namespace {

/// Rows that are chosen twice, out of order, not at all; and none.
I some() { return I::from(Shape<Batch, Time>(2, 5), {2, 0, -1, 2, 2, -1, -7, 1, 1, 0}); }

}  // namespace

TEST_CASE("pick takes rows of each text, zeros for a negative index") {
  const auto x = random_tensor<X>(Shape<Batch, Source, Wide>(2, 3), 1);
  const auto index = some();
  const auto y = pick(x, index);
  REQUIRE(y.size() == 2 * 5 * 6);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t c = i % 6, b = i / 30;
    const Index row = index[i / 6];
    CHECK(y[i] == (row < 0 ? 0 : x[(b * 3 + static_cast<std::size_t>(row)) * 6 + c]));
  }
}

TEST_CASE("pick refuses an index beyond the rows, and another batch") {
  const auto x = random_tensor<X>(Shape<Batch, Source, Wide>(2, 2), 1);
  CHECK_THROWS_WITH(pick(x, some()), "calm::pick: index 2 at [0, 0] is beyond the 2 rows");
  CHECK_THROWS_WITH(pick(x, I::full(Shape<Batch, Time>(3, 1), 0)), "calm::pick: x has 2 texts, index 3");
}

TEST_CASE("pick of no rows, from no rows, and of no texts") {
  const auto x = random_tensor<X>(Shape<Batch, Source, Wide>(2, 2), 1);
  CHECK(pick(x, I(Shape<Batch, Time>(2, 0))).size() == 0);
  const auto none = pick(X(Shape<Batch, Source, Wide>(2, 0)), I::full(Shape<Batch, Time>(2, 1), -1));
  for (std::size_t i = 0; i < none.size(); ++i) CHECK(none[i] == 0);
  CHECK(pick(X(Shape<Batch, Source, Wide>(0, 3)), I(Shape<Batch, Time>(0, 4))).size() == 0);
}

TEST_CASE("gradients of pick") {
  auto x = random_parameter<X>(Shape<Batch, Source, Wide>(2, 3), 1);
  check_gradients([](const auto& a) { return pick(a, some()); }, x);
  auto heads = random_parameter<Doubles<Batch, Source, Two, Three>>(Shape<Batch, Source, Two, Three>(2, 3), 2);
  check_gradients([](const auto& a) { return pick(a, some()); }, heads);
  const auto none = I::full(Shape<Batch, Time>(2, 4), -1);
  check_gradients([&](const auto& a) { return pick(a, none); }, x);
}
