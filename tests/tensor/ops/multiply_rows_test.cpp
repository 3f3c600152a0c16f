#include "calm/tensor/ops/multiply_rows.hpp"

#include <array>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Three, Wide>;
using PerRow = Doubles<Batch, Time, Three>;
using PerHead = Doubles<Three>;
using Scalar = Doubles<One>;

static_assert(RowsMultipliable<X, PerRow>);
static_assert(RowsMultipliable<X, PerHead>);
static_assert(RowsMultipliable<Var<X>, Scalar>);
static_assert(RowsMultipliable<Doubles<Wide>, Scalar>);
static_assert(!RowsMultipliable<X, X>);
static_assert(!RowsMultipliable<X, Doubles<Wide>>, "the last axis: that is operator*");
static_assert(!RowsMultipliable<X, Doubles<Time, Three>>);
static_assert(!RowsMultipliable<X, Floats<Three>>, "another element type");
static_assert(!RowsMultipliable<Doubles<Twin, Narrow>, Doubles<Wide>>, "as wide, but another axis");

// A frozen factor keeps no input alive, and a frozen input keeps the factor out.
using NodeOfX = calm::detail::MultiplyRowsNode<X, PerHead, true, false>;
using NodeOfFactor = calm::detail::MultiplyRowsNode<X, PerHead, false, true>;
static_assert(sizeof(NodeOfX) == sizeof(PerHead) + 4 * sizeof(std::size_t));
static_assert(sizeof(NodeOfFactor) == sizeof(X) + 4 * sizeof(std::size_t));

TEST_CASE("every row has its factor") {
  const auto x = Floats<Batch, Two, Three>::from(Shape<Batch, Two, Three>(2), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const auto per_place = multiply_rows(x, Floats<Two>::from({}, {10, 0}));
  const auto per_row = multiply_rows(x, Floats<Batch, Two>::from(Shape<Batch, Two>(2), {1, 2, 3, -1}));
  const auto all = multiply_rows(x, Floats<One>::from({}, {0.5f}));
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(per_place[i] == x[i] * std::to_array({10.0f, 0.0f})[i / 3 % 2]);
    CHECK(per_row[i] == x[i] * std::to_array({1.0f, 2.0f, 3.0f, -1.0f})[i / 3]);
    CHECK(all[i] == x[i] * 0.5f);
  }
}

TEST_CASE("factors of another batch are refused") {
  const auto x = Floats<Batch, Time, Two>::zeros(Shape<Batch, Time, Two>(2, 3));
  const auto turned = Floats<Batch, Time>::zeros(Shape<Batch, Time>(3, 2));
  CHECK_THROWS_WITH(multiply_rows(x, turned), Catch::Contains("calm::multiply_rows") && Catch::Contains("6 rows"));
}

TEST_CASE("a batch of no texts") {
  const auto x = Floats<Batch, Two, Three>::zeros(Shape<Batch, Two, Three>(0));
  CHECK(multiply_rows(x, Floats<Two>::zeros({})).size() == 0);
}

TEST_CASE("gradients of a product with one factor per row") {
  auto x = random_parameter<X>(Shape<Batch, Time, Three, Wide>(2, 3), 1);
  auto per_row = random_parameter<PerRow>(Shape<Batch, Time, Three>(2, 3), 2);
  auto per_head = random_parameter<PerHead>({}, 3);
  auto scalar = random_parameter<Scalar>({}, 4);
  const auto product = [](const auto& a, const auto& b) { return multiply_rows(a, b); };
  check_gradients(product, x, per_row);
  check_gradients(product, x, per_head);
  check_gradients(product, x, scalar);
}
