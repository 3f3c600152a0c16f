#include "calm/tensor/ops/gather.hpp"

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Two, Three>;

static_assert(Gatherable<X, Time, Indices<Batch>>);
static_assert(Gatherable<X, Two, Indices<Batch, Time>>);
static_assert(!Gatherable<X, Source, Indices<Batch>>, "no such axis");
static_assert(!Gatherable<X, Time, Indices<Time>>, "the index has the axes before");
static_assert(!Gatherable<X, Time, Doubles<Batch>>, "an index is an Index");
static_assert(std::is_same_v<decltype(gather<Time>(X{}, Indices<Batch>{})), Doubles<Batch, Two, Three>>);
static_assert(std::is_same_v<decltype(gather<Three>(X{}, Indices<Batch, Time, Two>{})), Doubles<Batch, Time, Two>>);

TEST_CASE("gather takes one place per row") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Two, Three>(2, 4), 1);
  const auto y = gather<Time>(x, Indices<Batch>::from(Shape<Batch>(2), {3, 1}));
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(y[i] == x[3 * 6 + i]);
    CHECK(y[6 + i] == x[(4 + 1) * 6 + i]);
  }
}

TEST_CASE("gather refuses an index that is not a place along the axis") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Two, Three>(2, 4), 1);
  CHECK_THROWS_WITH(gather<Time>(x, Indices<Batch>::from(Shape<Batch>(2), {3, 4})),
                    "calm::gather: index 4 at [1] is outside the axis of 4");
  CHECK_THROWS_WITH(gather<Time>(x, Indices<Batch>::from(Shape<Batch>(2), {-1, 0})),
                    Catch::Contains("index -1 at [0]"));
  CHECK_THROWS_AS(gather<Time>(x, Indices<Batch>::from(Shape<Batch>(1), {0})), Error);
}

TEST_CASE("gradients of gather") {
  auto x = random_parameter<X>(Shape<Batch, Time, Two, Three>(2, 4), 1);
  const auto last = Indices<Batch>::from(Shape<Batch>(2), {3, 1});
  check_gradients([&](const auto& a) { return gather<Time>(a, last); }, x);
  const auto which = Indices<Batch, Time>::from(Shape<Batch, Time>(2, 4), {0, 1, 1, 0, 1, 1, 0, 0});
  check_gradients([&](const auto& a) { return gather<Two>(a, which); }, x);
}
