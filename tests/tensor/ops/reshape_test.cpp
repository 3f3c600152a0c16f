#include "calm/tensor/ops/reshape.hpp"

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Floats<Batch, Time, Wide>;

static_assert(Renamable<X, Time, Source>);
static_assert(Renamable<X, Wide, Twin>);
static_assert(Renamable<X, Time, Sized<Time, 5>>);
static_assert(!Renamable<X, Wide, Narrow>, "the extents differ");
static_assert(!Renamable<X, Source, Time>, "no such axis");
static_assert(!Renamable<Floats<Wide, Wide>, Wide, Twin>, "which of the two?");

static_assert(Splittable<X, Wide, Two, Three>);
static_assert(!Splittable<X, Wide, Two, Two>);
static_assert(!Splittable<X, Time, Two, Three>, "a dynamic axis cannot be split");

static_assert(Mergeable<Floats<Batch, Two, Three>, Two, Three, Wide>);
static_assert(!Mergeable<Floats<Batch, Two, Three>, Three, Two, Wide>, "the order matters");
static_assert(!Mergeable<Floats<Two, Batch, Three>, Two, Three, Wide>, "they are no neighbours");
static_assert(!Mergeable<Floats<Batch, Two, Three>, Two, Three, Narrow>);

TEST_CASE("rename, split and merge share the memory") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Wide>(2, 5), 1);

  const Floats<Batch, Source, Wide> renamed = rename<Time, Source>(x);
  CHECK(renamed.data() == x.data());
  CHECK(renamed.shape().extents() == x.shape().extents());

  const Floats<Batch, Time, Two, Three> parts = split<Wide, Two, Three>(x);
  CHECK(parts.data() == x.data());
  CHECK(parts.shape().extents() == std::array<std::size_t, 4>{2, 5, 2, 3});

  const Floats<Batch, Time, Twin> whole = merge<Two, Three, Twin>(parts);
  CHECK(whole.data() == x.data());
  CHECK(whole.shape().extents() == x.shape().extents());
}

TEST_CASE("rename between dynamic and static extents is checked") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Wide>(2, 5), 1);
  const auto fixed = rename<Time, Sized<Time, 5>>(x);
  CHECK(fixed.shape().size() == x.size());
  const X back = rename<Sized<Time, 5>, Time>(fixed);
  CHECK(back.extent(1) == 5);
  CHECK_THROWS_WITH((rename<Time, Sized<Time, 4>>(x)), Catch::Contains("expected an axis of extent 4, found 5"));
}

TEST_CASE("other names cost nothing on the tape") {
  auto x = random_parameter<Doubles<Batch, Wide>>(Shape<Batch, Wide>(3), 1);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto y = merge<Two, Three, Wide>(split<Wide, Two, Three>(rename<Batch, Time>(x())));
  static_assert(is_var<decltype(y)>);
  CHECK(tape.node_count() == 0);
}

TEST_CASE("gradients pass through other names") {
  auto x = random_parameter<Doubles<Batch, Wide>>(Shape<Batch, Wide>(3), 1);
  check_gradients([](const auto& a) { return rename<Batch, Time>(a); }, x);
  check_gradients([](const auto& a) { return split<Wide, Two, Three>(a * a); }, x);
  check_gradients([](const auto& a) { return merge<Two, Three, Twin>(split<Wide, Two, Three>(a)); }, x);
  check_gradients([](const auto& a) { return rename<Wide, Twin>(a) * rename<Wide, Twin>(scale(a, 2)); }, x);
}
