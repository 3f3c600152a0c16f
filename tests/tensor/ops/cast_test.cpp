#include "calm/tensor/ops/cast.hpp"

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

static_assert(Castable<Floats<Wide>>);
static_assert(!Castable<Var<Floats<Wide>>>);

TEST_CASE("cast converts every pair of element types") {
  const auto x = Floats<Batch, Two>::from(Shape<Batch, Two>(2), {1, -2.5f, 0.333333343f, 65536});
  CHECK(cast<bf16>(x)[2].bits == bf16(0.333333343f).bits);
  CHECK(cast<double>(cast<bf16>(x))[1] == -2.5);
  CHECK(cast<bf16>(cast<double>(x))[2].bits == bf16(0.333333343f).bits);
  CHECK(static_cast<float>(cast<f16>(x)[0]) == 1);
  CHECK(static_cast<float>(cast<f16>(x)[3]) > 65504);  // infinity
  CHECK(cast<float>(cast<f16>(cast<bf16>(x)))[1] == -2.5f);
  CHECK(cast<float>(cast<double>(x))[2] == x[2]);
  CHECK(cast<Index>(x)[3] == 65536);
  CHECK(cast<bf16>(x).shape() == x.shape());
}

TEST_CASE("cast to the type that is there shares the memory") {
  const auto x = Floats<Wide>::full({}, 1);
  CHECK(cast<float>(x).data() == x.data());
}
