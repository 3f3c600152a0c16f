#include "calm/tensor/tape.hpp"

#include <catch2/catch.hpp>

#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/reduce.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

/// d Σ x² / dx, recorded on `tape`
const double* gradient_of_squares(Tape<Cpu>& tape, const TrainableParameter<Doubles<Three>>& x) {
  const auto recording = tape.record();
  backward(sum(x() * x()));
  return x.gradient();
}

}  // namespace

TEST_CASE("each step records anew, on one tape or on many at one address") {
  auto x = random_parameter<Doubles<Three>>({}, 1);
  Tape<Cpu> kept;
  for (int step = 0; step < 6; ++step) {
    x.zero_gradient();
    const double* d = nullptr;
    if (step % 2 == 0) {
      d = gradient_of_squares(kept, x);
    } else {
      Tape<Cpu> passing;
      d = gradient_of_squares(passing, x);
    }
    REQUIRE(d != nullptr);
    for (std::size_t i = 0; i < 3; ++i) CHECK(d[i] == Approx(2 * x.value()[i]));
  }
}

TEST_CASE("a parameter that is used often in one recording has one gradient") {
  auto x = random_parameter<Doubles<Three>>({}, 1);
  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    backward(sum(x() + x() + x()) + sum(x()));
  }
  for (std::size_t i = 0; i < 3; ++i) CHECK(x.gradient()[i] == Approx(4));
}

TEST_CASE("both terms of a sum share its gradient until something is added to one of them") {
  using X = Doubles<Three>;
  auto x = random_parameter<X>({}, 1), y = random_parameter<X>({}, 2);
  const auto weights = random_tensor<X>({}, 3);
  check_gradients(
      [&](const auto& a, const auto& b) {
        const auto u = scale(a, 2);
        const auto v = scale(b, 3);
        const auto h = u + v;             // h's gradient is u's and v's,
        const auto once_more = v + u * v;  // of which v's grows after it was shared
        return h * weights + (h + h) + once_more;
      },
      x, y);

  // On its way around a branch, a gradient takes no memory of its own.
  x.zero_gradient();
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto h = scale(x(), 1);
  const auto loss = sum(scale(scale(h, 2), 3) + h);
  const std::size_t before = CpuPool::instance().use().live;
  CpuPool::instance().reset_peak();
  backward(loss);
  CHECK(CpuPool::instance().use().peak - before == 2 * CpuPool::block_bytes(1));
  for (std::size_t i = 0; i < 3; ++i) CHECK(x.gradient()[i] == 7);
}

TEST_CASE("after the backward pass the tape is empty and holds no value") {
  auto x = random_parameter<Doubles<Three>>({}, 1);
  Tape<Cpu> tape;
  gradient_of_squares(tape, x);
  CHECK(tape.node_count() == 0);
  const std::size_t live = CpuPool::instance().use().live;  // the parameter and its gradient
  gradient_of_squares(tape, x);
  CHECK(CpuPool::instance().use().live == live);
  {
    const auto recording = tape.record();
    const auto y = x() * x();
    CHECK(tape.node_count() == 1);
    tape.clear();
    CHECK(tape.node_count() == 0);
  }
  CHECK(CpuPool::instance().use().live == live);
}

TEST_CASE("values of different recordings do not mix, and a loss needs one") {
  auto x = random_parameter<Doubles<Three>>({}, 1);
  const auto outside = sum(x());
  CHECK_THROWS_WITH(backward(outside), Catch::Contains("the loss was computed outside a recording"));
  Tape<Cpu> tape;
  const auto recording = tape.record();
  CHECK_THROWS_WITH(x() * Var<Doubles<Three>>{x.value()}, Catch::Contains("mixes a value recorded on a tape"));
}
