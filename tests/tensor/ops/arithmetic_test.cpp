#include "calm/tensor/ops/arithmetic.hpp"

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Wide>;
using Row = Doubles<Wide>;

static_assert(Broadcastable<X, X>);
static_assert(Broadcastable<X, Row>);
static_assert(Broadcastable<Var<X>, Row>);
static_assert(!Broadcastable<X, Doubles<Twin>>, "as wide, but another axis");
static_assert(!Broadcastable<Row, X>, "only the second operand is repeated");
static_assert(!Broadcastable<X, Doubles<Time, Wide>>);

// A sum keeps no tensor; a product with a frozen factor keeps that factor alone.
static_assert(sizeof(calm::detail::AddNode<X, X, true, true, false>) == 2 * sizeof(std::size_t));
static_assert(sizeof(calm::detail::AddNode<X, X, true, false, false>) == 2 * sizeof(std::size_t));
static_assert(sizeof(calm::detail::MultiplyNode<X, Row, true, false>) == sizeof(Row) + 2 * sizeof(std::size_t));
static_assert(sizeof(calm::detail::MultiplyNode<X, Row, false, true>) == sizeof(X) + 2 * sizeof(std::size_t));

TEST_CASE("arithmetic, elementwise and with a repeated row") {
  const auto x = Floats<Batch, Two>::from(Shape<Batch, Two>(2), {1, 2, 3, 4});
  const auto y = Floats<Batch, Two>::from(Shape<Batch, Two>(2), {10, 20, 30, 40});
  const auto row = Floats<Two>::from({}, {5, -1});
  CHECK((x + y)[3] == 44);
  CHECK((x - y)[2] == -27);
  CHECK((x * y)[1] == 40);
  CHECK((x + row)[2] == 8);
  CHECK((x * row)[3] == -4);
  CHECK(scale(x, -0.5)[2] == -1.5f);
}

TEST_CASE("arithmetic refuses operands of different lengths") {
  const auto x = Floats<Batch, Two>::zeros(Shape<Batch, Two>(2));
  const auto y = Floats<Batch, Two>::zeros(Shape<Batch, Two>(3));
  CHECK_THROWS_WITH(x + y, Catch::Contains("calm::operator+") && Catch::Contains("4 and 6"));
}

TEST_CASE("gradients of arithmetic") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  auto y = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 2);
  auto row = random_parameter<Row>({}, 3);
  check_gradients([](const auto& a, const auto& b) { return a + b; }, x, y);
  check_gradients([](const auto& a, const auto& b) { return a - b; }, x, y);
  check_gradients([](const auto& a, const auto& b) { return a * b; }, x, y);
  check_gradients([](const auto& a, const auto& b) { return a + b; }, x, row);
  check_gradients([](const auto& a, const auto& b) { return a * b; }, x, row);
  check_gradients([](const auto& a) { return scale(a, -1.5); }, x);
  check_gradients([](const auto& a) { return a + a; }, x);
  check_gradients([](const auto& a) { return a - a * a; }, x);
  check_gradients([](const auto& a, const auto& b, const auto& c) { return (a + c) * (b * c) - a; }, x, y, row);
}
