#include "calm/tensor/ops/mix.hpp"

#include <array>
#include <cmath>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Wide>;
using W = Doubles<Three>;

static_assert(Mixable<X, 3, W>);
static_assert(Mixable<Var<X>, 3, Var<W>>);
static_assert(!Mixable<X, 2, W>, "one weight for each state");
static_assert(!Mixable<X, 3, Floats<Three>>, "another element type");
static_assert(!Mixable<X, 3, Doubles<Time, Three>>, "weights are one axis");

// Frozen states are kept for the weights' gradient alone.
using NodeOfX = calm::detail::MixNode<X, 3, W, true, false>;
static_assert(sizeof(NodeOfX) == (most_operands * sizeof(Slot)) + sizeof(Storage<Cpu>) + sizeof(std::size_t));

namespace {

std::array<X, 3> three_states() {
  const Shape<Batch, Time, Wide> shape(2, 3);
  return {random_tensor<X>(shape, 1), random_tensor<X>(shape, 2), random_tensor<X>(shape, 3)};
}

}  // namespace

TEST_CASE("a mix is a sum with softmax weights") {
  const auto x = three_states();
  const auto z = mix(x, W::from({}, {0.5, -1, 2}));
  const double below = std::exp(0.5) + std::exp(-1) + std::exp(2);
  for (std::size_t i = 0; i < z.size(); ++i) {
    CHECK(z[i] == Approx((std::exp(0.5) * x[0][i] + std::exp(-1) * x[1][i] + std::exp(2) * x[2][i]) / below));
  }
}

TEST_CASE("a mix of one state is that state, whatever its weight") {
  const auto x = three_states()[0];
  const auto z = mix(std::array{x}, Doubles<One>::from({}, {-7}));
  for (std::size_t i = 0; i < z.size(); ++i) CHECK(z[i] == x[i]);
}

TEST_CASE("weights of bf16 are summed in float") {
  using B = Tensor<bf16, Cpu, Wide>;
  std::array<B, 3> x;
  for (std::size_t j = 0; j < 3; ++j) x[j] = B::full({}, bf16(static_cast<float>(j + 1)));
  CHECK(static_cast<float>(mix(x, Tensor<bf16, Cpu, Three>::zeros({}))[5]) == 2);
}

TEST_CASE("states of different lengths are refused") {
  const auto shorter = X::zeros(Shape<Batch, Time, Wide>(2, 2));
  const auto x = three_states();
  CHECK_THROWS_WITH(mix(std::array{x[0], x[1], shorter}, W::zeros({})),
                    "calm::mix: dynamic extents differ: 36 and 24 elements");
}

TEST_CASE("gradients of a mix, to its weights and its states") {
  const auto x = three_states();
  auto state = random_parameter<X>(x[0].shape(), 1);
  auto weights = random_parameter<W>({}, 4);
  check_gradients([&](const auto& w) { return mix(x, w); }, weights);
  check_gradients(
      [](const auto& a, const auto& w) {
        return mix(std::array{a, scale(a, -0.5), a}, w);  // states of one type, Vars or not
      },
      state, weights);
}

TEST_CASE("each state's gradient has its own weight") {
  const auto shape = three_states()[0].shape();
  const auto a = random_parameter<X>(shape, 1), b = random_parameter<X>(shape, 2), c = random_parameter<X>(shape, 3);
  const auto w = random_tensor<W>({}, 4);
  const auto weighting = random_tensor<X>(shape, 9);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  backward(sum(mix(std::array{a(), b(), c()}, w) * weighting));
  const double below = std::exp(w[0]) + std::exp(w[1]) + std::exp(w[2]);
  for (std::size_t i = 0; i < weighting.size(); ++i) {
    CHECK(a.gradient()[i] == Approx(weighting[i] * std::exp(w[0]) / below));
    CHECK(b.gradient()[i] == Approx(weighting[i] * std::exp(w[1]) / below));
    CHECK(c.gradient()[i] == Approx(weighting[i] * std::exp(w[2]) / below));
  }
}
