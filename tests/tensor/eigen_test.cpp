#include "calm/tensor/eigen.hpp"

#include <catch2/catch.hpp>

#include "calm/tensor/ops/linear.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Matchers::Contains;

namespace {

using X = Doubles<Batch, Time, Wide>;
using W = Doubles<Narrow, Wide>;

template <class T>
concept Viewable = requires(T&& x) { eigen_matrix(std::forward<T>(x)).rows(); };
static_assert(Viewable<const X&> && !Viewable<X>, "a view of what is about to go");
static_assert(decltype(eigen_matrix(std::declval<const W&>()))::ColsAtCompileTime == Wide::extent);

}  // namespace

TEST_CASE("a tensor's memory is a matrix of Eigen's") {
  auto x = random_tensor<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto m = eigen_matrix(x);
  CHECK((m.rows() == 6 && m.cols() == Wide::extent && m.data() == x.data()));
  CHECK(m(4, 1) == x[4 * Wide::extent + 1]);
  mutable_eigen_matrix(x)(4, 1) = 7;
  CHECK(x[4 * Wide::extent + 1] == 7);
  const X other = x;
  CHECK_THROWS_WITH(mutable_eigen_matrix(x), Contains("shared with another handle"));
}

TEST_CASE("one column, and one axis") {
  const auto column = Floats<Time, One>::from(Shape<Time, One>(3), {1, 2, 3});
  CHECK((eigen_matrix(column).rows() == 3 && eigen_matrix(column)(2, 0) == 3));
  const auto row = Floats<Time>::from(Shape<Time>(3), {1, 2, 3});
  CHECK((eigen_matrix(row).rows() == 1 && eigen_matrix(row)(0, 2) == 3));
}

TEST_CASE("products are those of Eigen") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Wide>(5, 7), 1);
  const auto w = random_tensor<W>({}, 2);
  const auto y = linear(x, w);
  const auto expected = from_eigen<Doubles<Batch, Time, Narrow>>(Shape<Batch, Time, Narrow>(5, 7),
                                                                 eigen_matrix(x) * eigen_matrix(w).transpose());
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == Approx(expected[i]).epsilon(1e-12).margin(1e-12));
}

TEST_CASE("a matrix of another shape is refused") {
  CHECK_THROWS_WITH((from_eigen<X>(Shape<Batch, Time, Wide>(2, 3), Eigen::MatrixXd::Zero(5, Wide::extent))),
                    Contains("expected a matrix of 6 x 6, found one of 5 x 6"));
}
