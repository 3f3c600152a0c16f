#include "calm/tensor/ops/attention.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/multiply_rows.hpp"
#include "calm/tensor/ops/reduce.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using Q = Doubles<Batch, Time, Two, Narrow>;
using K = Doubles<Batch, Source, One, Narrow>;
using Sink = Doubles<Two>;

static_assert(Attendable<Q, K, K>);
static_assert(!Attendable<Q, Doubles<Batch, Source, One, Three>, Doubles<Batch, Source, One, Three>>, "other widths");
static_assert(!Attendable<Q, Doubles<Batch, Source, Three, Narrow>, Doubles<Batch, Source, Three, Narrow>>,
              "three key heads cannot serve two heads evenly");

namespace {

constexpr std::size_t batch = 2, queries = 3, keys = 5;

/// Row 0: causal behind two earlier keys. Row 1: one query without keys, a window, and an interval past the center.
KeyIntervals<Cpu> mixed_mask() {
  const Shape<Batch, Time> shape(batch, queries);
  KeyIntervals<Cpu> mask;
  mask.begin = Indices<Batch, Time>::from(shape, {0, 0, 0, 0, 1, 2});
  mask.end = Indices<Batch, Time>::from(shape, {3, 4, 5, 0, 3, 5});
  mask.center = Indices<Batch, Time>::from(shape, {2, 3, 4, 0, 2, 3});
  return mask;
}

/// softmax with a sink written out in words, one number at a time.
double reference(const Q& q, const K& k, const K& v, const KeyIntervals<Cpu>& mask, const AttentionOptions<2>& options,
                 const Sink* sink, std::size_t b, std::size_t i, std::size_t h, std::size_t c) {
  double above = 0, below = sink ? std::exp((*sink)[h]) : 0;
  const std::size_t row = b * queries + i;
  for (auto j = static_cast<std::size_t>(mask.begin[row]); j < static_cast<std::size_t>(mask.end[row]); ++j) {
    double score = 0;
    for (std::size_t x = 0; x < 4; ++x) score += q[(row * 2 + h) * 4 + x] * k[(b * keys + j) * 4 + x];
    const double away = std::abs(static_cast<double>(mask.center[row]) - static_cast<double>(j));
    score /= 2;
    if (options.softcap > 0) score = options.softcap * std::tanh(score / options.softcap);
    const double weight = std::exp(score - options.recency[h] * away);
    above += weight * v[(b * keys + j) * 4 + c];
    below += weight;
  }
  return below > 0 ? above / below : 0;
}

struct Operands {
  TrainableParameter<Q> q = random_parameter<Q>(Q::shape_type(batch, queries), 1);
  TrainableParameter<K> k = random_parameter<K>(K::shape_type(batch, keys), 2);
  TrainableParameter<K> v = random_parameter<K>(K::shape_type(batch, keys), 3);
  TrainableParameter<Sink> sink = random_parameter<Sink>({}, 4);
};

}  // namespace

TEST_CASE("attention is a softmax over each query's interval, with and without a sink") {
  const Operands o;
  const auto mask = mixed_mask();
  const auto options = GENERATE(AttentionOptions<2>{.recency = {0.5, 0}},
                                AttentionOptions<2>{.softcap = 0.4, .recency = {0.5, 0}});
  const Sink sink = o.sink.value();
  const auto bare = attention(o.q.value(), o.k.value(), o.v.value(), mask, options);
  const auto sunk = attention(o.q.value(), o.k.value(), o.v.value(), mask, options, sink);
  for (std::size_t n = 0; n < bare.size(); ++n) {
    const std::size_t c = n % 4, h = n / 4 % 2, i = n / 8 % queries, b = n / 8 / queries;
    INFO("text " << b << ", query " << i << ", head " << h);
    CHECK(bare[n] == Approx(reference(o.q.value(), o.k.value(), o.v.value(), mask, options, nullptr, b, i, h, c)));
    CHECK(sunk[n] == Approx(reference(o.q.value(), o.k.value(), o.v.value(), mask, options, &sink, b, i, h, c)));
  }
}

TEST_CASE("a sink that outweighs every key leaves nothing, and one of no weight changes nothing") {
  const Operands o;
  const auto bare = attention(o.q.value(), o.k.value(), o.v.value(), mixed_mask());
  const auto heavy = attention(o.q.value(), o.k.value(), o.v.value(), mixed_mask(), {}, Sink::full({}, 800));
  const auto light = attention(o.q.value(), o.k.value(), o.v.value(), mixed_mask(), {}, Sink::full({}, -800));
  for (std::size_t n = 0; n < bare.size(); ++n) {
    CHECK(heavy[n] == 0);
    CHECK(light[n] == Approx(bare[n]));
  }
}

TEST_CASE("attention over more keys than a block holds") {
  using Short = Doubles<Batch, Time, One, Two>;
  using Long = Doubles<Batch, Source, One, Two>;
  const std::size_t n = 200;
  const auto q = random_tensor<Short>(Short::shape_type(1, 1), 1);
  const auto k = random_tensor<Long>(Long::shape_type(1, n), 2), v = random_tensor<Long>(Long::shape_type(1, n), 3);
  const auto sink = Doubles<One>::full({}, 1.5);
  KeyIntervals<Cpu> mask{.end = Indices<Batch, Time>::full(Shape<Batch, Time>(1, 1), static_cast<Index>(n)),
                         .begin = {},
                         .center = {}};
  double above = 0, below = std::exp(1.5);
  for (std::size_t j = 0; j < n; ++j) {
    const double weight = std::exp((q[0] * k[2 * j] + q[1] * k[2 * j + 1]) / std::sqrt(2.0));
    above += weight * v[2 * j];
    below += weight;
  }
  CHECK(attention(q, k, v, mask, {}, sink)[0] == Approx(above / below));
}

TEST_CASE("the log-sum-exp of what each query sees") {
  const Operands o;
  const auto mask = mixed_mask();
  const AttentionOptions<2> options{.scale = 0.5, .recency = {0.5, 0}};
  const auto bare = attention(o.q.value(), o.k.value(), o.v.value(), mask, options);
  const auto [out, lse] = attention_with_lse(o.q.value(), o.k.value(), o.v.value(), mask, options);
  static_assert(std::is_same_v<decltype(lse), const Doubles<Batch, Time, Two>>);
  for (std::size_t n = 0; n < bare.size(); ++n) CHECK(out[n] == bare[n]);
  for (std::size_t row = 0; row < batch * queries; ++row) {
    for (std::size_t h = 0; h < 2; ++h) {
      double below = 0;
      for (auto j = static_cast<std::size_t>(mask.begin[row]); j < static_cast<std::size_t>(mask.end[row]); ++j) {
        double score = 0;
        for (std::size_t x = 0; x < 4; ++x) {
          score += o.q.value()[(row * 2 + h) * 4 + x] * o.k.value()[(row / queries * keys + j) * 4 + x];
        }
        const double away = std::abs(static_cast<double>(mask.center[row]) - static_cast<double>(j));
        below += std::exp(score / 2 - options.recency[h] * away);
      }
      if (below > 0) CHECK(lse[row * 2 + h] == Approx(std::log(below)));
      else CHECK(lse[row * 2 + h] == -std::numeric_limits<double>::infinity());
    }
  }
}

TEST_CASE("gradients of attention") {
  Operands o;
  const auto mask = mixed_mask();
  check_gradients([&](const auto& q, const auto& k, const auto& v) { return attention(q, k, v, mask); }, o.q, o.k, o.v);
  check_gradients(
      [&](const auto& q, const auto& k, const auto& v) {
        return attention(q, k, v, mask, {.scale = 0.7, .recency = {0.5, 0.1}});
      },
      o.q, o.k, o.v);
  check_gradients(
      [&](const auto& q, const auto& k, const auto& v) {
        return attention(q, k, v, mask, {.scale = 0.7, .softcap = 0.6, .recency = {0.5, 0.1}});
      },
      o.q, o.k, o.v);
}

TEST_CASE("gradients of attention with a sink") {
  Operands o;
  const auto mask = mixed_mask();
  check_gradients(
      [&](const auto& q, const auto& k, const auto& v, const auto& sink) {
        return attention(q, k, v, mask, {.recency = {0.5, 0}}, sink);
      },
      o.q, o.k, o.v, o.sink);
}

TEST_CASE("gradients of attention with its log-sum-exp, of either result and of both") {
  Operands o;
  auto mask = mixed_mask();
  const AttentionOptions<2> options{.scale = 0.7, .recency = {0.5, 0}};
  check_gradients(
      [&](const auto& q, const auto& k, const auto& v) { return attention_with_lse(q, k, v, mask, options).first; },
      o.q, o.k, o.v);
  mask.end.mutable_data()[3] = 1;  // the log-sum-exp of nothing is -∞, which no loss may add up
  check_gradients(
      [&](const auto& q, const auto& k, const auto& v) { return attention_with_lse(q, k, v, mask, options).second; },
      o.q, o.k, o.v);
  check_gradients(
      [&](const auto& q, const auto& k, const auto& v) {
        const auto [out, lse] = attention_with_lse(q, k, v, mask, options);
        return multiply_rows(out, lse);
      },
      o.q, o.k, o.v);
}

TEST_CASE("attention whose results nobody uses leaves no gradient, and its tape no memory") {
  const Operands o;
  Tape<Cpu> tape;
  const std::size_t live = CpuPool::instance().use().live;
  {
    const auto recording = tape.record();
    const auto unused = attention_with_lse(o.q(), o.k(), o.v.value(), mixed_mask());
    backward(sum(o.v()));
  }
  CHECK(o.q.gradient() == nullptr);
  CHECK(o.k.gradient() == nullptr);
  CHECK(CpuPool::instance().use().live == live + CpuPool::block_bytes(o.v.value().size() * sizeof(double)));
}
