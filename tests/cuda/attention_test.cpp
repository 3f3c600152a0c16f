// Attention on the GPU against the host, under random intervals of keys with and without holes.

#include <cstddef>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/attention.hpp"
#include "cuda/attention_axes.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

/// Any interval for any query, some without keys; with `holes`, keys in the middle, at an end or everywhere left out.
template <class Device>
KeyIntervals<Device> random_mask(const Sizes& n, bool holes, bool centers) {
  const Shape<Batch, Time> shape(n.batch, n.queries);
  using Bounds = typename KeyIntervals<Device>::Bounds;
  KeyIntervals<Device> mask{Bounds(shape), Bounds(shape), {}, {}, {}};
  for (Bounds* b : {&mask.hole_begin, &mask.hole_end}) *b = holes ? Bounds(shape) : Bounds();
  if (centers) mask.center = Bounds(shape);
  const auto keys = static_cast<std::uint32_t>(n.keys);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const auto draw = [&](std::uint64_t k, std::uint32_t below) {
      return static_cast<Index>(random_below({seed(), 50 + k}, i, below));
    };
    mask.begin.mutable_data()[i] = draw(0, keys / 2 + 1);
    mask.end.mutable_data()[i] = draw(1, keys + 3);  // also beyond the keys that there are
    if (centers) mask.center.mutable_data()[i] = draw(2, keys);
    if (holes) {
      mask.hole_begin.mutable_data()[i] = draw(3, keys);
      mask.hole_end.mutable_data()[i] = mask.hole_begin[i] + draw(4, keys / 2 + 1);
    }
  }
  return mask;
}

template <class T, std::size_t H, std::size_t K, std::size_t W>
void check(const Sizes& n, bool holes, double softcap, double recency) {
  using Q = Tensor<T, Cpu, Batch, Time, Heads<H>, Width<W>>;
  using KV = Tensor<T, Cpu, Batch, Source, KeyHeads<K>, Width<W>>;
  const auto q = random_values<Q>(typename Q::shape_type(n.batch, n.queries), 1);
  const auto k = random_values<KV>(typename KV::shape_type(n.batch, n.keys), 2);
  const auto v = random_values<KV>(typename KV::shape_type(n.batch, n.keys), 3);
  const auto sink = random_values<Tensor<T, Cpu, Heads<H>>>({}, 4);
  AttentionOptions<H> options{.softcap = softcap};
  for (std::size_t h = 0; h < H; ++h) options.recency[h] = recency / static_cast<double>(h + 1);
  CAPTURE(n.batch, n.queries, n.keys, H, K, W, holes, softcap, recency);
  require_agreement("attention", 2, [&](auto device, auto a, auto b, auto c) {
    return attention(a, b, c, random_mask<decltype(device)>(n, holes, false), options);
  }, q, k, v);
  if (std::is_same_v<T, bf16>) return;  // the gradient of a sink is a small sum of large rounded numbers
  require_agreement("attention with a sink", 2, [&](auto device, auto a, auto b, auto c, auto s) {
    return attention(a, b, c, random_mask<decltype(device)>(n, holes, true), options, s);
  }, q, k, v, sink);
}

}  // namespace

TEST_CASE("cuda attention: intervals, grouped heads, sinks, recency, soft cap") {
  for (const bool holes : {false, true}) {
    check<double, 4, 2, 8>({2, 37, 70}, holes, 0, 0.1);
    check<float, 4, 1, 16>({2, 37, 70}, holes, 5, 0);
    check<bf16, 2, 2, 20>({1, 40, 33}, holes, 0, 0.1);  // of no width for the tensor cores
  }
}

TEST_CASE("cuda attention: decoding, one query each") { check<float, 6, 2, 64>({3, 1, 97}, false, 0, 0.2); }

TEST_CASE("cuda attention: wide heads take smaller tiles") {
  check<float, 2, 1, 256>({1, 20, 21}, true, 0, 0);
  check<double, 1, 1, 256>({1, 20, 21}, false, 2, 0.1);
}

TEST_CASE("cuda attention: the log-sum-exp and its gradient") {
  using Q = Doubles<Batch, Time, Heads<4>, Width<8>>;
  using KV = Doubles<Batch, Source, KeyHeads<2>, Width<8>>;
  const Sizes n{2, 9, 11};
  const auto q = random_values<Q>(Q::shape_type(n.batch, n.queries), 1);
  const auto k = random_values<KV>(KV::shape_type(n.batch, n.keys), 2);
  const auto v = random_values<KV>(KV::shape_type(n.batch, n.keys), 3);
  require_agreement("attention_with_lse", 1, [&](auto device, auto a, auto b, auto c) {
    using Bounds = Tensor<Index, decltype(device), Batch, Time>;
    KeyIntervals<decltype(device)> mask;  // each query sees a key, so that no log-sum-exp is infinite
    mask.end = Bounds::full(Shape<Batch, Time>(n.batch, n.queries), 7);
    const auto [out, lse] = attention_with_lse(a, b, c, mask);
    return sum<Width<8>>(out) * lse;
  }, q, k, v);
}
