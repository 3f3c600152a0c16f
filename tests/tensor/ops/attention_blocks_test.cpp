// Attention across the blocks that its kernels cut: full and part ones, grouped heads, intervals that end anywhere.
#include "calm/tensor/ops/attention.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

using Heads = Sized<Three, 4>;
using KvHeads = Sized<Two, 2>;
using Queries = Doubles<Batch, Time, Heads, Two>;
using Keys = Doubles<Batch, Source, KvHeads, Two>;
using Bounds = KeyIntervals<Cpu>::Bounds;

// A gradient that nobody needs has no slot.
template <bool Q, bool K, bool V>
using Node = calm::detail::AttentionNode<Queries, Keys, calm::detail::NoSink, calm::detail::AttentionForm<double, 4>, Q,
                                         K, V, false>;
static_assert(sizeof(Node<true, true, true>) == sizeof(Node<true, false, false>) + sizeof(std::size_t));
static_assert(sizeof(Node<true, false, false>) == sizeof(Node<false, false, true>));

/// 23 queries on 70 keys: blocks of both that are full and that are not.
constexpr std::size_t batch = 2, queries = 23, keys = 70;

Bounds bounds(std::uint64_t seed, std::size_t first, std::size_t past) {
  Bounds b(Shape<Batch, Time>(batch, queries));
  for (std::size_t i = 0; i < b.size(); ++i) {
    b.mutable_data()[i] =
        static_cast<Index>(first + random_below({seed, 2}, i, static_cast<std::uint32_t>(past - first)));
  }
  return b;
}

/// Intervals of every kind: short, long, across blocks, and empty ones.
KeyIntervals<Cpu> intervals(bool centered) {
  KeyIntervals<Cpu> m{bounds(1, 20, keys + 1), bounds(2, 0, 50), {}};
  m.begin.mutable_data()[3] = 66;
  m.end.mutable_data()[3] = 66;
  m.end.mutable_data()[queries + 4] = 0;
  if (centered) m.center = bounds(3, 0, keys);
  return m;
}

AttentionOptions<4> biased() { return {.scale = 0.7, .recency = {0.5, 0.25, 0, 0.125}}; }

/// Attention as it is written in a book.
std::vector<double> by_the_book(const Queries& q, const Keys& k, const Keys& v, const KeyIntervals<Cpu>& m,
                                const AttentionOptions<4>& options) {
  std::vector<double> out(q.size(), 0.0);
  for (std::size_t b = 0; b < batch; ++b) {
    for (std::size_t i = 0; i < queries; ++i) {
      for (std::size_t h = 0; h < 4; ++h) {
        const std::size_t row = b * queries + i;
        const auto begin = static_cast<std::size_t>(m.begin[row]), end = static_cast<std::size_t>(m.end[row]);
        const double center = m.center.defined() ? m.center[row] : m.end[row] - 1;
        double total = 0;
        double* o = out.data() + (row * 4 + h) * 2;
        for (std::size_t j = begin; j < end; ++j) {
          const std::size_t at = ((b * keys + j) * 2 + h / 2) * 2;
          const double* x = q.data() + (row * 4 + h) * 2;
          const double score = options.scale * (x[0] * k[at] + x[1] * k[at + 1]) -
                               options.recency[h] * std::abs(center - static_cast<double>(j));
          const double weight = std::exp(score);
          total += weight;
          for (std::size_t c = 0; c < 2; ++c) o[c] += weight * v[at + c];
        }
        for (std::size_t c = 0; c < 2 && total > 0; ++c) o[c] /= total;
      }
    }
  }
  return out;
}

const Shape<Batch, Time, Heads, Two> query_shape(batch, queries);
const Shape<Batch, Source, KvHeads, Two> key_shape(batch, keys);

}  // namespace

TEST_CASE("blockwise attention is attention by the book; a query without keys gets zeros") {
  const auto q = random_tensor<Queries>(query_shape, 1, 0, 2);
  const auto k = random_tensor<Keys>(key_shape, 2, 0, 2), v = random_tensor<Keys>(key_shape, 3);
  for (const bool centered : {false, true}) {
    const auto mask = intervals(centered);
    const auto expected = by_the_book(q, k, v, mask, biased());
    const auto found = attention(q, k, v, mask, biased());
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(close(found[i], expected[i], 1e-12));
    for (std::size_t c = 0; c < 8; ++c) CHECK(found[3 * 8 + c] == 0);
  }
}

TEST_CASE("a text has the same bits wherever it stands in a row, and whatever stands beside it") {
  using X = Floats<Batch, Time, Sized<One, 1>, Narrow>;
  const auto random = [](std::size_t time, std::uint64_t seed) {
    return random_tensor<X>(Shape<Batch, Time, Sized<One, 1>, Narrow>(1, time), seed, 0, 2);
  };
  constexpr std::size_t length = 150, width = Narrow::extent, row = 256;
  const auto text = random(length, 1);
  for (const std::size_t window : {length, std::size_t{20}}) {
    std::vector<float> alone;
    for (const std::size_t at : {0u, 1u, 37u, 64u, 106u}) {
      auto x = random(row, at + 2);  // 30 tokens to a text beside it
      std::copy_n(text.data(), text.size(), x.mutable_data() + at * width);
      KeyIntervals<Cpu> mask{Bounds(Shape<Batch, Time>(1, row)), Bounds(Shape<Batch, Time>(1, row)), {}};
      for (std::size_t i = 0; i < row; ++i) {
        const bool in_text = at <= i && i < at + length;
        const std::size_t first = in_text ? at : i < at ? i / 30 * 30 : at + length + (i - at - length) / 30 * 30;
        mask.begin.mutable_data()[i] = static_cast<Index>(std::max(first, i + 1 - std::min(window, i + 1)));
        mask.end.mutable_data()[i] = static_cast<Index>(i + 1);
      }
      const auto found = attention(x, x, x, mask);
      const std::vector<float> own(found.data() + at * width, found.data() + (at + length) * width);
      if (at == 0) alone = own;
      CHECK((own == alone));
    }
  }
}

TEST_CASE("scores beyond the range of exp leave no NaN") {
  auto q = random_tensor<Queries>(query_shape, 1, 0, 1e3);
  const auto k = random_tensor<Keys>(key_shape, 2, 0, 1e3), v = random_tensor<Keys>(key_shape, 3);
  const auto found = attention(q, k, v, intervals(false), biased());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i]) < 10);
}

TEST_CASE("gradients of attention across blocks") {
  auto q = random_parameter<Queries>(query_shape, 1);
  auto k = random_parameter<Keys>(key_shape, 2);
  auto v = random_parameter<Keys>(key_shape, 3);
  for (const bool centered : {false, true}) {
    const auto mask = intervals(centered);
    check_gradients([&](const auto& a, const auto& b, const auto& c) { return attention(a, b, c, mask, biased()); }, q,
                    k, v);
  }
}

TEST_CASE("no matrix of scores ever stands in memory") {
  constexpr std::size_t time = 2048;
  using X = Floats<Batch, Time, Sized<One, 1>, Narrow>;
  const Shape<Batch, Time, Sized<One, 1>, Narrow> shape(1, time);
  const auto q = random_parameter<X>(shape, 1), k = random_parameter<X>(shape, 2), v = random_parameter<X>(shape, 3);
  KeyIntervals<Cpu> causal{Bounds(Shape<Batch, Time>(1, time)), {}, {}};
  for (std::size_t i = 0; i < time; ++i) causal.end.mutable_data()[i] = static_cast<Index>(i + 1);
  Tape<Cpu> tape;
  CpuPool::instance().reset_peak();
  const std::size_t before = CpuPool::instance().use().peak;
  {
    const auto recording = tape.record();
    backward(sum(attention(q(), k(), v(), causal)));
  }
  CHECK(q.gradient() != nullptr);
  CHECK(CpuPool::instance().use().peak - before < time * time * sizeof(float) / 16);
}

TEST_CASE("attention refuses a mask of another batch or time") {
  const auto q = random_tensor<Queries>(query_shape, 1);
  const auto k = random_tensor<Keys>(key_shape, 2);
  KeyIntervals<Cpu> mask{Bounds::full(Shape<Batch, Time>(batch, queries - 1), 5), {}, {}};
  CHECK_THROWS_WITH(attention(q, k, k, mask), Catch::Contains("calm::attention: q, k and the mask disagree"));
  CHECK_THROWS_AS(attention(q, k, k, {}), Error);
}
