#include "calm/tensor/ops/dropout.hpp"

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

// Neither a mask nor the input is kept.
static_assert(sizeof(calm::detail::DropoutNode<Doubles<Batch, Wide>>) ==
              sizeof(RandomKey) + sizeof(std::size_t) + sizeof(Slot) + sizeof(float));

TEST_CASE("dropout keeps what its key says and scales it") {
  const RandomKey key{11, 3};
  const auto x = Floats<Time>::full(Shape<Time>(100'003), 3);
  const auto y = dropout(x, 0.25, key);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    REQUIRE(y[i] == (random_uniform(key, i) >= 0.25f ? 4.0f : 0.0f));
    kept += y[i] != 0;
  }
  CHECK(static_cast<double>(kept) / 100'003 == Approx(0.75).margin(0.005));
}

TEST_CASE("dropout with probability 0 is its operand") {
  auto x = random_parameter<Doubles<Wide>>({}, 1);
  CHECK(dropout(x.value(), 0, {1, 2}).data() == x.value().data());
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto operand = x();
  CHECK(dropout(operand, 0, {1, 2}).slot == operand.slot);
  CHECK(tape.node_count() == 0);
}

TEST_CASE("dropout refuses what is no probability") {
  const auto x = Floats<Wide>::zeros({});
  CHECK_THROWS_WITH(dropout(x, 1.0, {}), Catch::Contains("calm::dropout") && Catch::Contains("1.0"));
  CHECK_THROWS_AS(dropout(x, -0.1, {}), Error);
}

TEST_CASE("gradients of dropout") {
  auto x = random_parameter<Doubles<Batch, Wide>>(Shape<Batch, Wide>(3), 1);
  check_gradients([](const auto& a) { return dropout(a, 0.4, {5, 6}); }, x);
}
