#include "calm/tensor/ops/packed_projections.hpp"

#include <cstddef>
#include <utility>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/reduce.hpp"
#include "calm/tensor/ops/reshape.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Heads {
  static constexpr std::size_t extent = 3;
};
struct Head {
  static constexpr std::size_t extent = 22;
};
struct Queries {
  static constexpr std::size_t extent = Heads::extent * Head::extent;  // two panels and a part of one
};
struct Values {
  static constexpr std::size_t extent = 37;
};

const Shape<Batch, Time> places(2, 3);

template <class A>
auto table_of(const RopeOptions& options) {
  return rotations<Head, A>(Indices<Batch, Time>::from(places, {0, 1, 2, 700, 3, 50}), options);
}

/// Some sum in which every element counts otherwise.
template <class Y>
auto weighed(const Y& y, std::uint64_t seed) {
  return sum(y * random_tensor<ValueOf<Y>>(value(y).shape(), seed));
}

}  // namespace

using X = Doubles<Batch, Time, Wide>;

TEST_CASE("gradients of several packed products, heads turned or not, whichever of them are used") {
  const Packed<double, Doubles<Queries, Wide>> q(random_tensor<Doubles<Queries, Wide>>({}, 2));
  const Packed<double, Doubles<Values, Wide>> v(random_tensor<Doubles<Values, Wide>>({}, 3));
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const std::size_t turned = GENERATE(0u, 6u);
  const auto layout = GENERATE(RopeLayout::half_split, RopeLayout::interleaved);
  const auto table = table_of<double>({.turned = turned});
  const bool of_first = GENERATE(true, false), of_last = GENERATE(true, false);
  if (!of_first && !of_last) return;
  check_gradients(
      [&](const auto& in) {
        const auto [y, z, w] = linear(in, v, Rotated{q, table, layout, turned}, v);
        const auto first = weighed(y, 5), middle = weighed(z, 6), last = weighed(w, 7);
        if (of_first && of_last) return first + middle + last;
        return of_first ? first + middle : middle + last;
      },
      x);
  check_gradients([&](const auto& in) { return weighed(std::get<0>(linear(in, v, v)), 5); }, x);
}

TEST_CASE("several packed products are linear of each, and rope, to the bit") {
  using In = Floats<Batch, Time, Wide>;
  const Packed<bf16, Floats<Queries, Wide>> q(random_tensor<Floats<Queries, Wide>>({}, 2));
  const Packed<bf16, Floats<Values, Wide>> v(random_tensor<Floats<Values, Wide>>({}, 3));
  const auto x = random_tensor<In>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto table = table_of<float>({.turned = 10});
  const auto [y, z] = linear(x, Rotated{q, table, RopeLayout::half_split, 10}, v);
  const auto turned = rope(split<Queries, Heads, Head>(linear(x, q)), table, RopeLayout::half_split, 10);
  const auto plain = linear(x, v);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == turned[i]);
  for (std::size_t i = 0; i < z.size(); ++i) CHECK(z[i] == plain[i]);
}

TEST_CASE("packed products refuse rotations of other places") {
  const Packed<double, Doubles<Queries, Wide>> q(random_tensor<Doubles<Queries, Wide>>({}, 2));
  const auto x = X::zeros(Shape<Batch, Time, Wide>(2, 4));
  const auto table = table_of<double>({});
  CHECK_THROWS_WITH(linear(x, q, Rotated{q, table}), "calm::rope: x has 2 by 4 places, the positions 2 by 3");
}
