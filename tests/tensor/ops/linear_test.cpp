#include "calm/tensor/ops/linear.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/cast.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Wide>;
using OutIn = Doubles<Narrow, Wide>;
using InOut = Doubles<Wide, Narrow>;

static_assert(Multipliable<X, OutIn>);
static_assert(Multipliable<X, InOut>);
static_assert(!Multipliable<X, Doubles<Narrow, Twin>>, "as wide, but another axis");
static_assert(!Multipliable<X, Floats<Narrow, Wide>>, "another element type");
static_assert(!Multipliable<X, Doubles<Wide>>, "a weight has two axes");

// Through a frozen weight the input is not kept; into a weight alone, the weight is not.
template <bool NeedX, bool NeedW>
using Node =
    calm::detail::LinearNode<calm::detail::PlainProduct<double>, X, Doubles<Narrow, Wide>, NeedX, NeedW, false>;
static_assert(sizeof(Node<true, false>) == sizeof(OutIn) + 2 * sizeof(std::size_t));
static_assert(sizeof(Node<false, true>) == sizeof(X) + 2 * sizeof(std::size_t));
static_assert(sizeof(Node<true, true>) == sizeof(X) + sizeof(OutIn) + 2 * sizeof(std::size_t));

TEST_CASE("linear multiplies by either order of the weight") {
  const auto x = random_tensor<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto w = random_tensor<OutIn>({}, 2);
  InOut transposed{Shape<Wide, Narrow>{}};
  for (std::size_t o = 0; o < 4; ++o) {
    for (std::size_t i = 0; i < 6; ++i) transposed.mutable_data()[i * 4 + o] = w[o * 6 + i];
  }
  const Doubles<Batch, Time, Narrow> y = linear(x, w), z = linear(x, transposed);
  for (std::size_t r = 0; r < 6; ++r) {
    for (std::size_t o = 0; o < 4; ++o) {
      double expected = 0;
      for (std::size_t i = 0; i < 6; ++i) expected += x[r * 6 + i] * w[o * 6 + i];
      CHECK(close(y[r * 4 + o], expected, 1e-12));
      CHECK(close(z[r * 4 + o], expected, 1e-12));
    }
  }
}

TEST_CASE("a frozen weight lets go of the input") {
  auto x = random_tensor<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto frozen = random_tensor<OutIn>({}, 2);
  auto trainable = random_parameter<OutIn>({}, 2);
  auto scales = random_parameter<Doubles<Wide>>({}, 3);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  {
    auto held = (x + scales());
    const auto y = linear(held, frozen);
    CHECK_NOTHROW(held.value.mutable_data());
    const auto z = linear(held, trainable());
    CHECK_THROWS_AS(held.value.mutable_data(), Error);
  }
}

TEST_CASE("gradients of linear") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  auto out_in = random_parameter<OutIn>({}, 2);
  auto in_out = random_parameter<InOut>({}, 3);
  check_gradients([](const auto& a, const auto& w) { return linear(a, w); }, x, out_in);
  check_gradients([](const auto& a, const auto& w) { return linear(a, w); }, x, in_out);
}

TEST_CASE("linear with a bias is linear and a sum, and so are its gradients") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  auto out_in = random_parameter<OutIn>({}, 2);
  auto in_out = random_parameter<InOut>({}, 3);
  auto b = random_parameter<Doubles<Narrow>>({}, 4);
  const auto y = linear(x.value(), out_in.value(), b.value()), z = linear(x.value(), out_in.value()) + b.value();
  CHECK(std::equal(y.data(), y.data() + y.size(), z.data()));
  const auto biased = [](const auto& a, const auto& w, const auto& bias) { return linear(a, w, bias); };
  check_gradients(biased, x, out_in, b);
  check_gradients(biased, x, in_out, b);
}

TEST_CASE("linear in f16 sums in float and rounds once") {
  using Half = Tensor<f16, Cpu, Batch, Wide>;
  using HalfW = Tensor<f16, Cpu, Narrow, Wide>;
  const auto x = random_tensor<Half>(Shape<Batch, Wide>(3), 1);
  const auto w = random_tensor<HalfW>({}, 2);
  const auto y = linear(x, w);
  const auto exact = linear(cast<float>(x), cast<float>(w));
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i].bits == f16(exact[i]).bits);
}
