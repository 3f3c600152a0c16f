#include "calm/tensor/ops/cross_entropy.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

using X = Doubles<Batch, Time, Wide>;
using W = Doubles<Vocabulary, Wide>;
using Targets = Indices<Batch, Time>;

const Shape<Batch, Time, Wide> shape(2, 4);

Targets some_targets() { return Targets::from(Shape<Batch, Time>(2, 4), {3, -1, 0, 6, -1, -1, 2, 3}); }

// The gradients are made in the forward pass; those that nobody needs are not there.
template <bool NeedX, bool NeedW>
using Node = calm::detail::CrossEntropyNode<X, W, NeedX, NeedW>;
static_assert(sizeof(Node<true, false>) == sizeof(X) + sizeof(std::size_t));
static_assert(sizeof(Node<false, true>) == sizeof(W) + sizeof(std::size_t));
static_assert(sizeof(Node<true, true>) == sizeof(X) + sizeof(W) + sizeof(std::size_t));
static_assert(std::is_same_v<decltype(linear_cross_entropy(X{}, W{}, Targets{})), Doubles<One>>);
static_assert(std::is_same_v<decltype(linear_cross_entropy(X{}, Var<W>{}, Targets{})), Var<Doubles<One>>>);

}  // namespace

TEST_CASE("the loss is the mean of -log softmax over the targets that count") {
  const auto x = random_tensor<X>(shape, 1);
  const auto w = random_tensor<W>({}, 2);
  const auto targets = some_targets();
  const double cap = GENERATE(0.0, 0.8);
  double total = 0;
  for (std::size_t r = 0; r < 8; ++r) {
    if (targets[r] < 0) continue;
    std::vector<double> logits(7, 0.0);
    double sum = 0;
    for (std::size_t c = 0; c < 7; ++c) {
      for (std::size_t i = 0; i < 6; ++i) logits[c] += x[r * 6 + i] * w[c * 6 + i];
      if (cap > 0) logits[c] = cap * std::tanh(logits[c] / cap);
      sum += std::exp(logits[c]);
    }
    total += std::log(sum) - logits[static_cast<std::size_t>(targets[r])];
  }
  CHECK(linear_cross_entropy(x, w, targets, cap)[0] == Approx(total / 5).epsilon(1e-12));
}

TEST_CASE("gradients of linear_cross_entropy") {
  auto x = random_parameter<X>(shape, 1);
  auto w = random_parameter<W>({}, 2);
  const auto targets = some_targets();
  const double cap = GENERATE(0.0, 0.8);
  check_gradients([&](const auto& a, const auto& b) { return linear_cross_entropy(a, b, targets, cap); }, x, w);
}

TEST_CASE("many rows are taken in chunks, with the loss and the gradients of one row at a time") {
  using Rows = Doubles<Time, Wide>;
  constexpr std::size_t rows = 2500;  // more than two chunks
  const auto x = random_parameter<Rows>(Shape<Time, Wide>(rows), 1);
  const auto w = random_parameter<W>({}, 2);
  Indices<Time> targets(Shape<Time>{rows});
  for (std::size_t i = 0; i < rows; ++i) targets.mutable_data()[i] = static_cast<Index>(i % 8) - 1;
  const double count = 2500.0 - 313;  // every eighth does not count
  Tape<Cpu> tape;
  const auto loss_of = [&](const auto& h, const auto& weight, const auto& t) {
    const auto recording = tape.record();
    const auto loss = linear_cross_entropy(h(), weight(), t);
    backward(loss);
    return loss.value[0];
  };
  const double mean = loss_of(x, w, targets);

  double total = 0;
  const auto weight = random_parameter<W>({}, 2);
  for (std::size_t i = 0; i < rows; ++i) {
    const double* d = x.gradient() + i * 6;
    if (targets[i] < 0) {
      CHECK(std::count(d, d + 6, 0.0) == 6);
      continue;
    }
    TrainableParameter<Rows> row;
    row.assign(Rows::from(Shape<Time, Wide>(1), x.value().data() + i * 6));
    total += loss_of(row, weight, Indices<Time>::from(Shape<Time>(1), {targets[i]}));
    for (std::size_t c = 0; c < 6; ++c) CHECK(close(d[c] * count, row.gradient()[c], 1e-10));
  }
  CHECK(mean == Approx(total / count).epsilon(1e-12));
  for (std::size_t c = 0; c < 42; ++c) CHECK(close(w.gradient()[c] * count, weight.gradient()[c], 1e-10));
}

TEST_CASE("never all logits stand in memory at once") {
  constexpr std::size_t rows = 4096, vocabulary = 4000;
  using Table = Floats<Sized<Vocabulary, vocabulary>, Narrow>;
  const auto x = random_parameter<Floats<Time, Narrow>>(Shape<Time, Narrow>(rows), 1);
  const auto w = random_tensor<Table>({}, 2);
  const auto targets = Indices<Time>::full(Shape<Time>(rows), 17);
  Tape<Cpu> tape;
  CpuPool::instance().reset_peak();
  const std::size_t before = CpuPool::instance().use().peak;
  {
    const auto recording = tape.record();
    backward(linear_cross_entropy(x(), w, targets));
  }
  CHECK(x.gradient() != nullptr);
  CHECK(CpuPool::instance().use().peak - before < rows * vocabulary * sizeof(float) / 8);
}

TEST_CASE("targets that are no tokens, and batches without any, are refused") {
  const auto x = random_tensor<X>(shape, 1);
  const auto w = random_tensor<W>({}, 2);
  const auto with = [&](Index last) {
    return linear_cross_entropy(x, w, Targets::from(Shape<Batch, Time>(2, 4), {3, -1, 0, 6, -1, -1, 2, last}));
  };
  CHECK_THROWS_WITH(with(7), "calm::linear_cross_entropy: target 7 is token 7, outside the vocabulary of 7");
  CHECK_THROWS_WITH(with(-2), Catch::Contains("target 7 is token -2"));
  CHECK_THROWS_WITH(linear_cross_entropy(x, w, Targets::full(Shape<Batch, Time>(2, 4), ignored_target)),
                    Catch::Contains("every target is masked"));
  CHECK_THROWS_WITH(linear_cross_entropy(x, w, Targets::full(Shape<Batch, Time>(2, 3), 1)),
                    Catch::Contains("6 targets for 8 rows"));
}
