#include "calm/tensor/ops/share.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/multiply_rows.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using S = Doubles<Batch, Time, Three>;
using Null = Doubles<Three>;

static_assert(Shareable<std::array<S, 2>, NoNull>);
static_assert(Shareable<std::vector<Var<S>>, Null>);
static_assert(Shareable<std::span<const S>, Var<Null>>);
static_assert(Shareable<OperandList<S>, NoNull>);
static_assert(!Shareable<std::array<S, 2>, Doubles<Two>>, "a null score has the scores' last axis");
static_assert(!Shareable<std::array<S, 2>, Floats<Three>>, "another element type");
static_assert(!Shareable<std::array<Doubles<Batch, Time>, 2>, Doubles<Time>>, "an axis without a fixed extent");
static_assert(!Shareable<S, NoNull>, "a list");

namespace {

constexpr double never = -std::numeric_limits<double>::infinity();

std::vector<S> random_scores(std::size_t n, std::size_t time = 40) {
  std::vector<S> scores;
  for (std::size_t j = 0; j < n; ++j) scores.push_back(random_tensor<S>(Shape<Batch, Time, Three>(2, time), j + 1));
  return scores;
}

}  // namespace

TEST_CASE("shares are a softmax across tensors, with and without a null score") {
  auto scores = random_scores(4);
  const Null null = random_tensor<Null>({}, 9);
  scores[1].mutable_data()[5] = scores[0].mutable_data()[7] = never;
  for (std::size_t at = 0; at < scores[0].size(); ++at) {
    double below = 0;
    for (const S& s : scores) below += std::exp(s[at]);
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(share(i, scores)[at] == Approx(std::exp(scores[i][at]) / below));
      CHECK(share(i, scores, null)[at] == Approx(std::exp(scores[i][at]) / (below + std::exp(null[at % 3]))));
    }
  }
}

TEST_CASE("a score of -∞ has no share, and neither has anybody where all scores are -∞") {
  const Doubles<Three> a = Doubles<Three>::from({}, {never, never, 0}), b = Doubles<Three>::from({}, {1, never, 800});
  const auto null = Doubles<Three>::full({}, -3), no_null = Doubles<Three>::full({}, never);
  const std::array both{a, b};
  CHECK(share(0, both)[0] == 0);
  CHECK(share(1, both)[0] == 1);
  CHECK(share(0, both)[1] == 0);
  CHECK(share(1, both)[1] == 0);
  CHECK(share(0, both, null)[1] == 0);
  CHECK(share(1, both, no_null)[1] == 0);
  CHECK(share(1, both)[2] == 1);  // e^800 is no number, its share is
  CHECK(share(0, both)[2] == 0);
}

TEST_CASE("a score that is not a number is not hidden") {
  const auto a = Doubles<One>::full({}, std::numeric_limits<double>::quiet_NaN()), b = Doubles<One>::full({}, never);
  CHECK(std::isnan(share(0, std::array{a, b})[0]));
  CHECK(std::isnan(share(1, std::array{b, a, b})[0]));
}

TEST_CASE("scores in another order have the same shares, bit for bit") {
  using F = Floats<Batch, Three>;
  constexpr std::size_t n = 6;
  std::array<F, n> scores;
  for (std::size_t j = 0; j < n; ++j) scores[j] = random_tensor<F>(Shape<Batch, Three>(100), j, 0, 3);
  const auto null = random_tensor<Floats<Three>>({}, 10);
  std::array<std::size_t, n> order;
  std::iota(order.begin(), order.end(), 0);
  std::array<F, n> expected;
  for (std::size_t j = 0; j < n; ++j) expected[j] = share(j, scores, null);
  while (std::next_permutation(order.begin(), order.end())) {
    if (order[0] + order[5] != 5) continue;  // 1 in 5 of them will do
    std::array<F, n> turned;
    for (std::size_t j = 0; j < n; ++j) turned[j] = scores[order[j]];
    bool same = true;
    for (std::size_t j = 0; j < n; ++j) {
      const F y = share(j, turned, null);
      same = same && std::equal(y.data(), y.data() + y.size(), expected[order[j]].data());
    }
    REQUIRE(same);
  }
}

TEST_CASE("lists that no share is defined for are refused") {
  auto scores = random_scores(2);
  CHECK_THROWS_WITH(share(2, scores), "calm::share: there is no score 2 among 2");
  CHECK_THROWS_WITH(share(0, std::vector<S>{}), "calm::share: expected 1 to 32 operands, found 0");
  CHECK_THROWS_WITH(share(0, std::vector<S>(33, scores[0])), Catch::Contains("found 33"));
  scores.push_back(random_scores(1, 2)[0]);
  CHECK_THROWS_WITH(share(0, scores), "calm::share: dynamic extents differ: 240 and 12 elements");
}

TEST_CASE("gradients of shares") {
  auto a = random_parameter<S>(Shape<Batch, Time, Three>(2, 3), 1);
  auto null = random_parameter<Null>({}, 4);
  const auto others = [](const auto& s) { return std::array{s, scale(s, -0.5), scale(s, 0.3)}; };
  for (std::size_t i = 0; i < 3; ++i) {
    check_gradients([&](const auto& s) { return share(i, others(s)); }, a);
    check_gradients([&](const auto& s, const auto& n) { return share(i, others(s), n); }, a, null);
  }
  auto gone = a.value().clone();
  for (std::size_t at = 0; at < 9; ++at) gone.mutable_data()[at] = never;
  a.assign(gone);
  check_gradients([&](const auto& n) { return share(1, std::array{a.value(), a.value()}, n); }, null);
  check_gradients([&](const auto& n) { return share(0, std::array{a.value()}, n); }, null);
}

TEST_CASE("each score has its own gradient") {
  const auto shape = Shape<Batch, Time, Three>(2, 3);
  std::array<TrainableParameter<S>, 3> scores{random_parameter<S>(shape, 1), random_parameter<S>(shape, 2),
                                              random_parameter<S>(shape, 3)};
  const auto null = random_tensor<Null>({}, 4);
  const auto weights = random_tensor<S>(shape, 5);
  const auto loss = [&] {
    const std::array tensors{scores[0].value(), scores[1].value(), scores[2].value()};
    return mixes::weighted_sum(share(1, tensors, null), weights);
  };
  std::vector<std::vector<double>> numeric;
  for (auto& s : scores) numeric.push_back(mixes::numeric_gradient(loss, s));
  Tape<Cpu> tape;
  const auto recording = tape.record();
  backward(sum(share(1, std::array{scores[0](), scores[1](), scores[2]()}, null) * weights));
  for (std::size_t j = 0; j < 3; ++j) {
    for (std::size_t at = 0; at < numeric[j].size(); ++at) {
      CHECK(close(scores[j].gradient()[at], numeric[j][at], 1e-8));
    }
  }
}

namespace {

using Q = Doubles<Batch, Time, Two, Narrow>;
using K = Doubles<Batch, Source, Two, Narrow>;

K rows(const K& x, std::size_t from, std::size_t to) {
  return K::from(Shape<Batch, Source, Two, Narrow>(1, to - from), x.data() + from * 8);
}

KeyIntervals<Cpu> sees(std::array<Index, 3> ends) {
  return {Indices<Batch, Time>::from(Shape<Batch, Time>(1, 3), ends.data()), {}, {}};
}

}  // namespace

TEST_CASE("attentions on parts of the keys, joined by their shares, are the attention on all, null key included") {
  auto q = random_parameter<Q>(Q::shape_type(1, 3), 1);
  const auto k = random_tensor<K>(K::shape_type(1, 5), 2), v = random_tensor<K>(K::shape_type(1, 5), 3);
  auto null = random_parameter<Doubles<Two>>({}, 4);
  // Keys 0, 1, 2 and 3, 4; the first query sees none of the second part.
  const auto joined = [&](const auto& queries, const auto& none) {
    const auto [a, lse_a] = attention_with_lse(queries, rows(k, 0, 3), rows(v, 0, 3), sees({2, 3, 3}));
    const auto [b, lse_b] = attention_with_lse(queries, rows(k, 3, 5), rows(v, 3, 5), sees({0, 1, 2}));
    const std::array scores{lse_a, lse_b};
    return multiply_rows(a, share(0, scores, none)) + multiply_rows(b, share(1, scores, none));
  };
  const auto whole = attention(q.value(), k, v, sees({2, 4, 5}), {}, null.value());
  const auto parts = joined(q.value(), null.value());
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(parts[i] == Approx(whole[i]).margin(1e-12));
  check_gradients(joined, q, null);
}
