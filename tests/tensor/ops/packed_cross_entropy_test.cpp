#include "calm/tensor/ops/packed_cross_entropy.hpp"

#include <vector>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Words {
  static constexpr std::size_t extent = 71;  // more than two panels, and odd
};
template <class T>
using States = Tensor<T, Cpu, Batch, Time, Wide>;
template <class T>
using Table = Tensor<T, Cpu, Words, Wide>;

/// Every third of 2 · `length` targets does not count.
Indices<Batch, Time> some_targets(std::size_t length) {
  std::vector<Index> targets(2 * length);
  for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = i % 3 == 1 ? -1 : static_cast<Index>(i * 29 % 71);
  return Indices<Batch, Time>::from(Shape<Batch, Time>(2, length), targets.data());
}

/// The loss, and behind it the gradient of x.
template <class P, class W>
std::vector<double> run(P& x, const W& w, const Indices<Batch, Time>& targets, double cap) {
  x.zero_gradient();
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto loss = linear_cross_entropy(x(), w, targets, cap);
  backward(loss);
  std::vector<double> all{static_cast<double>(loss.value[0])};
  all.insert(all.end(), x.gradient(), x.gradient() + x.value().size());
  return all;
}

}  // namespace

TEST_CASE("the loss of a packed projection agrees with central differences") {
  const Packed<double, Table<double>> w(random_tensor<Table<double>>({}, 2));
  auto x = random_parameter<States<double>>(Shape<Batch, Time, Wide>(2, 4), 1);
  const double cap = GENERATE(0.0, 0.8);
  check_gradients([&](const auto& in) { return linear_cross_entropy(in, w, some_targets(4), cap); }, x);
}

TEST_CASE("the loss of a packed projection is that of the weight, more rows than stand in memory at a time") {
  const std::size_t length = 140;
  const double cap = GENERATE(0.0, 0.8);
  auto x = random_parameter<States<float>>(Shape<Batch, Time, Wide>(2, length), 1);
  const auto weight = random_tensor<Table<float>>({}, 2);
  const auto exact = run(x, weight, some_targets(length), cap);
  const auto check = [&](const std::vector<double>& seen, double part) {
    double size = 0, off = 0;
    for (std::size_t i = 1; i < exact.size(); ++i) {
      size += exact[i] * exact[i];
      off += (seen[i] - exact[i]) * (seen[i] - exact[i]);
    }
    CHECK(seen[0] == Approx(exact[0]).epsilon(part));
    CHECK(off < part * part * size);
  };
  check(run(x, Packed<float, Table<float>>(weight), some_targets(length), cap), 1e-5);
  check(run(x, Packed<bf16, Table<float>>(weight), some_targets(length), cap), 0.01);  // bf16: half an ulp is 0.4 %
}
