#include "calm/tensor/ops/attention.hpp"

#include <algorithm>
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

/// The same with holes: between keys, at the beginning, at the end, none, over all keys, and one beyond them.
KeyIntervals<Cpu> mask_with_holes() {
  const Shape<Batch, Time> shape(batch, queries);
  KeyIntervals<Cpu> mask;
  mask.begin = Indices<Batch, Time>::from(shape, {0, 1, 0, 0, 1, 2});
  mask.end = Indices<Batch, Time>::from(shape, {4, 4, 5, 3, 3, 5});
  mask.hole_begin = Indices<Batch, Time>::from(shape, {1, 1, 3, 0, 0, 4});
  mask.hole_end = Indices<Batch, Time>::from(shape, {3, 2, 5, 0, 4, 4});
  return mask;
}

struct Place {
  bool seen;
  double away;
};

/// Whether query `row` sees key j, and how far it is from where the query stands.
Place place_of(const KeyIntervals<Cpu>& mask, std::size_t row, Index j) {
  const Index begin = mask.begin[row], end = mask.end[row];
  const auto in_hole = [&](Index x) {
    return mask.hole_end.defined() && x >= mask.hole_begin[row] && x < mask.hole_end[row];
  };
  const auto number = [&](Index x) {  // of the keys before x that are not in the hole
    Index n = 0;
    for (Index y = 0; y < x; ++y) n += !(in_hole(y) && y >= begin);
    return n;
  };
  const Index own = mask.center.defined() ? mask.center[row] : number(end) - 1;
  return {j >= begin && j < end && !in_hole(j), std::abs(static_cast<double>(own - number(j)))};
}

/// softmax with a sink written out in words, one number at a time.
double reference(const Q& q, const K& k, const K& v, const KeyIntervals<Cpu>& mask, const AttentionOptions<2>& options,
                 const Sink* sink, std::size_t b, std::size_t i, std::size_t h, std::size_t c) {
  double above = 0, below = sink ? std::exp((*sink)[h]) : 0;
  const std::size_t row = b * queries + i;
  for (std::size_t j = 0; j < keys; ++j) {
    const auto [seen, away] = place_of(mask, row, static_cast<Index>(j));
    if (!seen) continue;
    double score = 0;
    for (std::size_t x = 0; x < 4; ++x) score += q[(row * 2 + h) * 4 + x] * k[(b * keys + j) * 4 + x];
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
  const auto mask = GENERATE(mixed_mask(), mask_with_holes());
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
  KeyIntervals<Cpu> mask{.end = Indices<Batch, Time>::full(Shape<Batch, Time>(1, 1), static_cast<Index>(n))};
  double above = 0, below = std::exp(1.5);
  for (std::size_t j = 0; j < n; ++j) {
    const double weight = std::exp((q[0] * k[2 * j] + q[1] * k[2 * j + 1]) / std::sqrt(2.0));
    above += weight * v[2 * j];
    below += weight;
  }
  CHECK(attention(q, k, v, mask, {}, sink)[0] == Approx(above / below));
}

TEST_CASE("a hole over a whole block of keys is an interval that begins behind it, soft cap and gradients included") {
  constexpr std::size_t n = 150, time = 9;
  auto q = random_parameter<Q>(Q::shape_type(1, time), 1);
  auto k = random_parameter<K>(K::shape_type(1, n), 2), v = random_parameter<K>(K::shape_type(1, n), 3);
  const Shape<Batch, Time> shape(1, time);
  const auto all = [&](std::size_t x) { return Indices<Batch, Time>::full(shape, static_cast<Index>(x)); };
  KeyIntervals<Cpu> holed{.end = all(n), .hole_begin = all(0), .hole_end = all(0)};
  KeyIntervals<Cpu> later{.end = all(n), .begin = all(0)};
  for (std::size_t i = 0; i < time; i += 3)  // neighbours differ, so that for others the block is worked on
    holed.hole_end.mutable_data()[i] = later.begin.mutable_data()[i] = 80;
  const auto run = [&](const KeyIntervals<Cpu>& mask) {
    std::vector<double> made;
    for (auto* x : {&k, &v}) x->zero_gradient();
    q.zero_gradient();
    Tape<Cpu> tape;
    const auto recording = tape.record();
    const auto y = attention(q(), k(), v(), mask, AttentionOptions<2>{.softcap = 2});
    backward(sum(y * y));
    made.insert(made.end(), value(y).data(), value(y).data() + value(y).size());
    made.insert(made.end(), q.gradient(), q.gradient() + q.value().size());
    for (const auto* x : {&k, &v}) made.insert(made.end(), x->gradient(), x->gradient() + x->value().size());
    return made;
  };
  REQUIRE(run(holed) == run(later));
}

TEST_CASE("keys in a hole are as if they were not there, over many blocks of keys and queries") {
  using Short = Doubles<Batch, Time, Two, Narrow>;
  using Long = Doubles<Batch, Source, One, Narrow>;
  const std::size_t n = 300, cut = GENERATE(1u, 64u, 100u, 170u), time = 70;
  const std::size_t from = GENERATE(0u, 5u, 64u, 127u), kept = n - cut;
  auto q = random_parameter<Short>(Short::shape_type(1, time), 1);
  auto k = random_parameter<Long>(Long::shape_type(1, n), 2), v = random_parameter<Long>(Long::shape_type(1, n), 3);
  const auto without = [&](const Long& x) {
    Long y(Long::shape_type(1, kept));
    for (std::size_t i = 0; i < 4 * kept; ++i) y.mutable_data()[i] = x[i < 4 * from ? i : i + 4 * cut];
    return y;
  };
  TrainableParameter<Long> short_k, short_v;
  short_k.assign(without(k.value()));
  short_v.assign(without(v.value()));
  const Shape<Batch, Time> shape(1, time);
  const auto all = [&](std::size_t x) { return Indices<Batch, Time>::full(shape, static_cast<Index>(x)); };
  KeyIntervals<Cpu> holed{.end = all(n), .hole_begin = all(from), .hole_end = all(from + cut)};
  KeyIntervals<Cpu> whole{.end = all(kept)};
  for (std::size_t i = 0; i < time; ++i) {  // queries that see less and less
    holed.end.mutable_data()[i] -= static_cast<Index>(std::min(i, kept - from));
    whole.end.mutable_data()[i] -= static_cast<Index>(std::min(i, kept - from));
  }
  const AttentionOptions<2> options{.recency = {0.05, 0}};
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto a = attention(q(), k(), v(), holed, options);
  const auto b = attention(q(), short_k(), short_v(), whole, options);
  for (std::size_t i = 0; i < value(a).size(); ++i) CHECK(value(a)[i] == Approx(value(b)[i]).margin(1e-12));
  backward(sum(a * a) + sum(b * b));
  const double *dk = k.gradient(), *dv = v.gradient();
  for (std::size_t i = 0; i < 4 * n; ++i) {
    const bool gone = i >= 4 * from && i < 4 * (from + cut);
    const std::size_t j = i < 4 * from ? i : i - 4 * cut;
    CHECK(dk[i] == Approx(gone ? 0 : short_k.gradient()[j]).margin(1e-12));
    CHECK(dv[i] == Approx(gone ? 0 : short_v.gradient()[j]).margin(1e-12));
  }
}

TEST_CASE("the log-sum-exp of what each query sees") {
  const Operands o;
  const auto mask = GENERATE(mixed_mask(), mask_with_holes());
  const AttentionOptions<2> options{.scale = 0.5, .recency = {0.5, 0}};
  const auto bare = attention(o.q.value(), o.k.value(), o.v.value(), mask, options);
  const auto [out, lse] = attention_with_lse(o.q.value(), o.k.value(), o.v.value(), mask, options);
  static_assert(std::is_same_v<decltype(lse), const Doubles<Batch, Time, Two>>);
  for (std::size_t n = 0; n < bare.size(); ++n) CHECK(out[n] == bare[n]);
  for (std::size_t row = 0; row < batch * queries; ++row) {
    for (std::size_t h = 0; h < 2; ++h) {
      double below = 0;
      for (std::size_t j = 0; j < keys; ++j) {
        const auto [seen, away] = place_of(mask, row, static_cast<Index>(j));
        if (!seen) continue;
        double score = 0;
        for (std::size_t x = 0; x < 4; ++x) {
          score += o.q.value()[(row * 2 + h) * 4 + x] * o.k.value()[(row / queries * keys + j) * 4 + x];
        }
        below += std::exp(score / 2 - options.recency[h] * away);
      }
      if (below > 0) CHECK(lse[row * 2 + h] == Approx(std::log(below)));
      else CHECK(lse[row * 2 + h] == -std::numeric_limits<double>::infinity());
    }
  }
}

TEST_CASE("gradients of attention") {
  Operands o;
  const auto mask = GENERATE(mixed_mask(), mask_with_holes());
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

TEST_CASE("gradients of attention where one variable is queries, keys and values") {
  using One = Doubles<Batch, Time, Two, Narrow>;
  auto x = random_parameter<One>(One::shape_type(batch, queries), 1);
  KeyIntervals<Cpu> mask;
  mask.end = Indices<Batch, Time>::from(Shape<Batch, Time>(batch, queries), {1, 2, 3, 0, 2, 3});
  check_gradients([&](const auto& in) { return attention(in, in, in, mask); }, x);
}

TEST_CASE("gradients of attention with a sink") {
  Operands o;
  const auto mask = GENERATE(mixed_mask(), mask_with_holes());
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

TEST_CASE("keys and values kept in bf16 are read as the floats that they are") {
  using Queries = Floats<Batch, Time, Two, Narrow>;
  using Rows = Floats<Batch, Source, One, Narrow>;
  using Kept = Tensor<bf16, Cpu, Batch, Source, One, Narrow>;
  const std::size_t n = GENERATE(1u, 3u);  // there is a kernel for one query
  const auto number = [](std::size_t i) { return float(bf16(static_cast<float>(i * 37 % 64) / 50 - 0.6f)); };
  Queries q(Shape<Batch, Time, Two, Narrow>(batch, n));
  Rows k(Shape<Batch, Source, One, Narrow>(batch, keys)), v(k.shape());
  Kept short_k(k.shape()), short_v(k.shape());
  for (std::size_t i = 0; i < q.size(); ++i) q.mutable_data()[i] = number(i);
  for (std::size_t i = 0; i < k.size(); ++i) {
    short_k.mutable_data()[i] = bf16(k.mutable_data()[i] = number(i + 7));
    short_v.mutable_data()[i] = bf16(v.mutable_data()[i] = number(i + 20));
  }
  const KeyIntervals<Cpu> mask{Indices<Batch, Time>::full(Shape<Batch, Time>(batch, n), 4)};
  const auto expected = attention(q, k, v, mask), found = attention(q, short_k, short_v, mask);
  for (std::size_t i = 0; i < q.size(); ++i) CHECK(found[i] == expected[i]);

  TrainableParameter<Queries> p;
  p.assign(q);
  using Constant = Var<Kept>;
  CHECK(attention(p(), Constant{short_k}, Constant{short_v}, mask).value[0] == expected[0]);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  CHECK_THROWS_WITH(attention(p(), as_var(short_k), as_var(short_v), mask),
                    Catch::Contains("no gradient goes through keys kept in bf16"));
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
