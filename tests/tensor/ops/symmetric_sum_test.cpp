#include "calm/tensor/ops/symmetric_sum.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/share.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Time, Wide>;
using F = Floats<Time, Wide>;

namespace {

std::vector<F> random_terms(std::size_t n) {
  std::vector<F> terms;
  for (std::size_t j = 0; j < n; ++j) terms.push_back(random_tensor<F>(Shape<Time, Wide>(50), j + 1, 0, 100));
  return terms;
}

template <class Y>
bool same_bits(const Y& a, const Y& b) {
  return std::equal(a.data(), a.data() + a.size(), b.data(), b.data() + b.size());
}

/// Calls f with every order of [0, n).
template <class Function>
void for_orders(std::size_t n, const Function& f) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  do f(order);
  while (std::next_permutation(order.begin(), order.end()));
}

}  // namespace

TEST_CASE("a symmetric sum is the sum, in any order of its terms the same bits") {
  for (const std::size_t n : {2u, 3u, 5u}) {
    const auto terms = random_terms(n);
    const F y = symmetric_sum(terms);
    for (std::size_t i = 0; i < y.size(); ++i) {
      double expected = 0;
      for (const F& x : terms) expected += static_cast<double>(x[i]);
      CHECK(static_cast<double>(y[i]) == Approx(expected).margin(1e-3));
    }
    for_orders(n, [&](const auto& order) {
      std::vector<F> turned;
      for (const std::size_t j : order) turned.push_back(terms[j]);
      CHECK(same_bits(symmetric_sum(turned), y));
    });
  }
}

TEST_CASE("the symmetric sum of two is x + y, and of one that one") {
  const auto terms = random_terms(2);
  CHECK(same_bits(symmetric_sum(terms), terms[0] + terms[1]));
  CHECK(symmetric_sum(std::array{terms[1]}).data() == terms[1].data());
  CHECK_THROWS_WITH(symmetric_sum(std::vector<F>{}), "calm::symmetric_sum: expected 1 to 32 operands, found 0");
}

TEST_CASE("a term that is not a number is not hidden") {
  std::array<Doubles<One>, 4> terms;
  for (std::size_t place = 0; place < 4; ++place) {
    for (std::size_t j = 0; j < 4; ++j) {
      terms[j] = Doubles<One>::full({}, j == place ? std::numeric_limits<double>::quiet_NaN() : -double(j));
    }
    CHECK(std::isnan(symmetric_sum(terms)[0]));
  }
}

TEST_CASE("gradients of a symmetric sum") {
  auto x = random_parameter<X>(Shape<Time, Wide>(3), 1);
  const auto summed = [](const auto& a) { return symmetric_sum(std::array{a * a, scale(a, -0.5), a, a}); };
  check_gradients(summed, x);
  check_gradients([](const auto& a) { return symmetric_sum(std::array{a}); }, x);
}

TEST_CASE("a value that is fanned out is the same memory, and without a tape the same operand") {
  const auto x = random_parameter<X>(Shape<Time, Wide>(3), 1);
  const auto tensors = fan_out(x.value(), 2);
  static_assert(std::is_same_v<decltype(tensors), const OperandList<X>>);
  REQUIRE(tensors.size() == 3);
  for (const X& copy : tensors) CHECK(copy.data() == x.value().data());
  for (const Var<X>& copy : fan_out(x(), 2)) CHECK(copy.tape == nullptr);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  for (const Var<X>& copy : fan_out(x(), 2)) CHECK(copy.value.data() == x.value().data());
  CHECK(tape.node_count() == 1);
  CHECK_THROWS_WITH(fan_out(x(), 32), "calm::fan_out: expected at most 31 readers, found 32");
}

TEST_CASE("gradients of a value that is fanned out") {
  auto x = random_parameter<X>(Shape<Time, Wide>(3), 1);
  check_gradients(
      [](const auto& a) {
        const auto each = fan_out(a, 3);
        return symmetric_sum(std::array{each[0] * each[1], scale(each[2], 3), each[3]});
      },
      x);
  check_gradients([](const auto& a) { return fan_out(scale(a, 2), 3)[2] * a; }, x);  // most copies meet no gradient
  check_gradients([](const auto& a) { return fan_out(scale(a, 2), 0)[0]; }, x);
}

TEST_CASE("readers in another order give the same gradient, bit for bit") {
  auto x = random_parameter<F>(Shape<Time, Wide>(50), 1);
  const auto factors = random_terms(4);
  Tape<Cpu> tape;
  std::vector<float> expected;
  for_orders(4, [&](const auto& order) {
    x.zero_gradient();
    const auto recording = tape.record();
    const auto each = fan_out(scale(x(), 1), 4);  // the last is read by nobody
    auto loss = sum(each[0] * factors[order[0]]);
    for (std::size_t j = 1; j < 4; ++j) loss = loss + sum(each[j] * factors[order[j]]);
    backward(loss);
    if (expected.empty()) expected.assign(x.gradient(), x.gradient() + x.value().size());
    CHECK(std::equal(expected.begin(), expected.end(), x.gradient()));
  });
}

TEST_CASE("shares of scores that are fanned out have the same gradients in any order of the scores") {
  constexpr std::size_t n = 4;
  using S = Floats<Time, Three>;
  const auto shape = Shape<Time, Three>(30);
  std::vector<TrainableParameter<S>> scores;
  std::vector<S> weights;
  for (std::size_t j = 0; j < n; ++j) {
    scores.push_back(random_parameter<S>(shape, j));
    weights.push_back(random_tensor<S>(shape, 10 + j));
  }
  auto null = random_parameter<Floats<Three>>({}, 20);
  Tape<Cpu> tape;
  std::vector<float> expected;
  for_orders(n, [&](const auto& order) {
    null.zero_gradient();
    for (auto& s : scores) s.zero_gradient();
    const auto recording = tape.record();
    std::vector<OperandList<Var<S>>> each;
    for (const std::size_t j : order) each.push_back(fan_out(scores[j](), n - 1));
    const auto nulls = fan_out(null(), n - 1);
    OperandList<Var<S>> parts;
    for (std::size_t i = 0; i < n; ++i) {
      OperandList<Var<S>> mine;
      for (const auto& copies : each) mine.push_back(copies[i]);
      parts.push_back(share(i, mine, nulls[i]) * weights[order[i]]);
    }
    backward(sum(symmetric_sum(parts)));
    std::vector<float> found(null.gradient(), null.gradient() + 3);
    for (const auto& s : scores) found.insert(found.end(), s.gradient(), s.gradient() + s.value().size());
    if (expected.empty()) expected = found;
    CHECK(found == expected);
  });
}

TEST_CASE("the gradients of the copies are gone when they are added up") {
  const auto x = random_parameter<X>(Shape<Time, Wide>(3), 1);
  const auto weights = random_tensor<X>(x.value().shape(), 2);
  Tape<Cpu> tape;
  const std::size_t live = CpuPool::instance().use().live;
  const auto recording = tape.record();
  {
    const auto each = fan_out(scale(x(), 2), 2);
    backward(sum((each[0] + each[2]) * weights));
  }
  CHECK(CpuPool::instance().use().live == live + CpuPool::block_bytes(x.value().size() * sizeof(double)));
}

TEST_CASE("a list of operands says when it is full") {
  OperandList<Doubles<One>> list;
  for (std::size_t j = 0; j < most_operands; ++j) list.push_back(Doubles<One>::zeros({}));
  CHECK(list.size() == most_operands);
  CHECK_THROWS_WITH(list.push_back({}), "calm::OperandList: more than 32 operands");
}
