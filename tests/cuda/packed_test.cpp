// Frozen matrices that are kept in another type: the GPU's operations on them against the host's.

#include "calm/tensor/packed_tensor.hpp"

#include <cstddef>
#include <string>
#include <type_traits>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/cast.hpp"
#include "calm/tensor/ops/packed_cross_entropy.hpp"
#include "calm/tensor/ops/packed_embedding.hpp"
#include "calm/tensor/ops/packed_linear.hpp"
#include "calm/tensor/ops/packed_mlp.hpp"
#include "cuda/attention_axes.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct In {
  static constexpr std::size_t extent = 72;
};
struct Out {
  static constexpr std::size_t extent = 130;
};
template <class T>
using States = Tensor<T, Cpu, Batch, Time, In>;
const Shape<Batch, Time, In> some(3, 5);

/// A random matrix, the same on every device, kept in `Stored`.
template <class Stored, class Device, Axis Rows, Axis Cols>
auto packed(std::uint64_t number) {
  using T = Accumulator<Stored>;
  const auto w = random_values<Tensor<T, Cpu, Rows, Cols>>({}, number, 0.3);
  return Packed<Stored, Tensor<T, Device, Rows, Cols>>(move_to<Device>(w));
}

/// f(device, stored, x) for matrices kept in each type. In bf16 both round what they multiply, and sum in other orders.
template <class F>
void agree(const std::string& what, const F& f) {
  require_agreement(
      what + ", float", 2, [&](auto device, auto x) { return f(device, float{}, x); },
      random_values<States<float>>(some, 1));
  require_agreement(
      what + ", double", 2, [&](auto device, auto x) { return f(device, double{}, x); },
      random_values<States<double>>(some, 1));
  require_agreement(
      what + ", bf16", 2000, [&](auto device, auto x) { return f(device, bf16{}, x); },
      random_values<States<float>>(some, 1));
}

}  // namespace

TEST_CASE("cuda packed: a matrix is what it was, rounded") {
  const auto w = random_values<Tensor<float, Cpu, Out, In>>({}, 3);
  const Packed<bf16, Tensor<float, Cuda, Out, In>> kept(move_to<Cuda>(w));
  STATIC_REQUIRE(decltype(kept)::bytes == 2 * Out::extent * In::extent);
  const auto back = on_host(kept.unpacked());
  for (std::size_t i = 0; i < w.size(); ++i) REQUIRE(back[i] == static_cast<float>(static_cast<bf16>(w[i])));
}

TEST_CASE("cuda packed: products") {
  agree("linear", [](auto device, auto stored, auto x) {
    return linear(x, packed<decltype(stored), decltype(device), Out, In>(2));
  });
}

TEST_CASE("cuda packed: a feed-forward layer, with and without its gradient") {
  for (const auto kind : {kernel::Activation::silu, kernel::Activation::gelu_tanh}) {
    const auto mlp = [kind](auto device, auto stored, const auto& x) {
      using Stored = decltype(stored);
      using Device = decltype(device);
      return packed_mlp(x, kind, packed<Stored, Device, Out, In>(2), packed<Stored, Device, Out, In>(3),
                        packed<Stored, Device, In, Out>(4));
    };
    agree("packed_mlp", mlp);
    const auto x = random_values<States<float>>(some, 1);
    require_close("without a gradient", mlp(Cpu{}, bf16{}, x), mlp(Cuda{}, bf16{}, move_to<Cuda>(x)), 2000);
  }
}

TEST_CASE("cuda packed: rows by token") {
  const auto rows = [](auto device) {
    using Tokens = Tensor<Index, decltype(device), Batch, Time>;
    return embedding(Tokens::from(Shape<Batch, Time>(1, 4), {5, 0, 129, 5}),
                     packed<bf16, decltype(device), Out, In>(2));
  };
  require_close("embedding", rows(Cpu{}), rows(Cuda{}));
  using Tokens = Tensor<Index, Cuda, Batch, Time>;
  const auto beyond = Tokens::from(Shape<Batch, Time>(1, 1), {130});
  REQUIRE_THROWS_AS(embedding(beyond, packed<bf16, Cuda, Out, In>(2)), Error);
}

TEST_CASE("cuda packed: cross-entropy") {
  for (const double cap : {0.0, 3.0}) {
    agree("linear_cross_entropy", [cap](auto device, auto stored, auto x) {
      using Targets = Tensor<Index, decltype(device), Batch, Time>;
      const auto targets =
          Targets::from(Shape<Batch, Time>(3, 5), {1, 2, -1, 129, 0, -1, -1, 7, 7, 7, 64, 3, 2, 1, -1});
      return linear_cross_entropy(x, packed<decltype(stored), decltype(device), Out, In>(2), targets, cap);
    });
  }
}

namespace {

using Queries = Tensor<float, Cpu, Batch, Time, Heads<4>, Width<64>>;
template <class T>
using KeysOf = Tensor<T, Cpu, Batch, Source, KeyHeads<2>, Width<64>>;
const typename Queries::shape_type queries(2, 5);
const typename KeysOf<float>::shape_type keys(2, 7);

/// Query t sees keys up to t + 2, the first text's all but key 0.
template <class Device>
KeyIntervals<Device> mask() {
  using Bounds = typename KeyIntervals<Device>::Bounds;
  const Shape<Batch, Time> shape(2, 5);
  return {.end = Bounds::from(shape, {3, 4, 5, 6, 7, 3, 4, 5, 6, 7}),
          .begin = Bounds::from(shape, {1, 1, 1, 1, 1, 0, 0, 0, 0, 0})};
}

}  // namespace

TEST_CASE("cuda packed: attention whose operands are rounded") {
  const auto q = random_values<Queries>(queries, 1);
  const auto k = random_values<KeysOf<float>>(keys, 2), v = random_values<KeysOf<float>>(keys, 3);
  const AttentionOptions<4, bf16> options{.softcap = 5};
  require_agreement(
      "attention", 2000,
      [&](auto device, auto a, auto b, auto c) { return attention(a, b, c, mask<decltype(device)>(), options); }, q, k,
      v);
  const auto sink = random_values<Tensor<float, Cpu, Heads<4>>>({}, 4);
  require_agreement(
      "attention with a sink", 2000,
      [&](auto device, auto a, auto b, auto c, auto s) {
        return attention(a, b, c, mask<decltype(device)>(), options, s);
      },
      q, k, v, sink);
}

TEST_CASE("cuda packed: attention to keys that are kept in bf16") {
  const auto q = random_values<Queries>(queries, 1);
  const auto k = cast<bf16>(random_values<KeysOf<float>>(keys, 2));
  const auto v = cast<bf16>(random_values<KeysOf<float>>(keys, 3));
  const auto on = [&]<class Device>(Device, const auto& options) {
    return attention_with_lse(move_to<Device>(q), move_to<Device>(k), move_to<Device>(v), mask<Device>(), options);
  };
  const auto check = [&](const auto& options) {
    const auto host = on(Cpu{}, options);
    const auto gpu = on(Cuda{}, options);
    require_close("result", host.first, gpu.first, 2000);
    require_close("log-sum-exp", host.second, gpu.second, 2000);
  };
  check(AttentionOptions<4>{});
  check(AttentionOptions<4, bf16>{});
}
