#include "calm/tensor/cpu/attention_one.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;

namespace {

template <class T>
std::vector<T> numbers(std::size_t n, std::size_t seed) {
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i)
    x[i] = static_cast<T>(static_cast<float>((i + seed) * 7919 % 2048) / 1024.0f - 1.0f);
  return x;
}

/// Four texts of different lengths: one with a hole, one without keys, one that sees less than a block.
template <class T>
struct Texts {
  using A = Accumulator<T>;
  kernel::AttentionExtents e;
  std::vector<T> q, k, v, sink, out, expected;
  std::vector<A> lse, expected_lse, slope;
  std::vector<Index> begin{3, 0, 5, 40}, end{700, 0, 20, 600}, hole_begin{0, 0, 0, 100}, hole_end{0, 0, 0, 330};
  std::vector<Index> center{699, 0, 10, 400};

  Texts(std::size_t heads, std::size_t kv_heads, std::size_t width) : e{4, 1, 700, heads, kv_heads, width} {
    q = numbers<T>(e.batch * heads * width, 1);
    k = numbers<T>(e.batch * e.keys * kv_heads * width, 2);
    v = numbers<T>(k.size(), 3);
    sink = numbers<T>(heads, 4);
    slope = numbers<A>(heads, 5);
    for (A& s : slope) s = std::abs(s) / A(100);
    out = expected = std::vector<T>(q.size(), T(7.0f));
    lse = expected_lse = std::vector<A>(e.batch * heads, A(7));
    for (std::size_t b = 0; b < e.batch; ++b) {  // what nobody sees was never written
      for (std::size_t j = 0; j < e.keys; ++j) {
        const auto at = static_cast<Index>(j);
        if (at >= begin[b] && at < end[b] && !(at >= hole_begin[b] && at < hole_end[b])) continue;
        const std::size_t row = (b * e.keys + j) * kv_heads * width;
        for (std::size_t i = row; i < row + kv_heads * width; ++i)
          k[i] = v[i] = T(std::numeric_limits<float>::quiet_NaN());
      }
    }
  }
  void compute(bool with_sink, bool biased, float softcap) {
    kernel::AttentionRule<A> rule{};
    rule.begin = begin.data(), rule.end = end.data();
    rule.hole_begin = hole_begin.data(), rule.hole_end = hole_end.data();
    rule.center = biased ? center.data() : nullptr;
    rule.slope = biased ? slope.data() : nullptr;
    rule.scale = A(0.3f), rule.softcap = static_cast<A>(softcap);
    const T* first = with_sink ? sink.data() : nullptr;
    kernel::attention(Cpu{}, e, rule, q.data(), k.data(), v.data(), first, expected.data(), expected_lse.data());
    kernel::attention_of_one(Cpu{}, e, rule, q.data(), k.data(), v.data(), first, out.data(), lse.data());
  }
};

}  // namespace

TEMPLATE_TEST_CASE("attention of one query a text is that of blocks of queries", "", float, double, bf16) {
  const auto [heads, kv_heads] = GENERATE(std::pair{6u, 2u}, std::pair{10u, 2u}, std::pair{3u, 3u});
  const std::size_t width = GENERATE(16u, 21u);
  const bool with_sink = GENERATE(false, true), biased = GENERATE(false, true);
  const float softcap = GENERATE(0.0f, 0.7f);
  Texts<TestType> texts(heads, kv_heads, width);
  texts.compute(with_sink, biased, softcap);
  const double near = std::is_same_v<TestType, double> ? 1e-12 : std::is_same_v<TestType, bf16> ? 8e-3 : 2e-6;
  for (std::size_t i = 0; i < texts.out.size(); ++i) {
    INFO("element " << i);
    const auto found = static_cast<double>(static_cast<float>(texts.out[i]));
    const auto expected = static_cast<double>(static_cast<float>(texts.expected[i]));
    REQUIRE(std::abs(found - expected) <= near);
  }
  for (std::size_t i = 0; i < texts.lse.size(); ++i) {
    INFO("head " << i);
    const auto found = static_cast<double>(texts.lse[i]), expected = static_cast<double>(texts.expected_lse[i]);
    REQUIRE((found == expected || std::abs(found - expected) <= 1e-5));
  }
}

TEST_CASE("a text of one key reads its value to the last bit") {
  Texts<float> texts(3, 3, 16);
  texts.end = {4, 0, 6, 41};
  texts.hole_begin = texts.hole_end = {0, 0, 0, 0};
  texts.compute(false, false, 0);
  for (std::size_t i = 0; i < 3 * 16; ++i) CHECK(texts.out[i] == texts.v[3 * 3 * 16 + i]);
}

TEST_CASE("queries are rounded to what keys are kept in") {
  Texts<bf16> rounded(10, 2, 64);
  rounded.compute(true, true, 0);
  std::vector<float> q(rounded.q.size()), sink(rounded.sink.size()), out(q.size());
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(rounded.q[i]) * 1.0005f;
  for (std::size_t i = 0; i < sink.size(); ++i) sink[i] = static_cast<float>(rounded.sink[i]);
  kernel::AttentionRule<float> rule{};
  rule.begin = rounded.begin.data(), rule.end = rounded.end.data();
  rule.hole_begin = rounded.hole_begin.data(), rule.hole_end = rounded.hole_end.data();
  rule.center = rounded.center.data(), rule.slope = rounded.slope.data(), rule.scale = 0.3f;
  kernel::attention_of_one(Cpu{}, rounded.e, rule, q.data(), rounded.k.data(), rounded.v.data(), sink.data(),
                           out.data(), nullptr);
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(bf16(out[i]).bits == rounded.out[i].bits);
}
