// Every operation in float against PyTorch; tests/fixtures/make_ops_fixture.py made the numbers.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>

#include <catch2/catch.hpp>

#include "calm/io/safetensors.hpp"
#include "calm/tensor/ops/activation.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/cross_entropy.hpp"
#include "calm/tensor/ops/embedding.hpp"
#include "calm/tensor/ops/gated.hpp"
#include "calm/tensor/ops/gather.hpp"
#include "calm/tensor/ops/linear.hpp"
#include "calm/tensor/ops/norm.hpp"
#include "calm/tensor/ops/reduce.hpp"
#include "calm/tensor/ops/rope.hpp"
#include "calm/tensor/ops/softmax.hpp"
#include "support/axes.hpp"

namespace {

using namespace calm;
using test::Floats;
using test::Indices;

using Wide = Sized<test::Wide, 40>;
using Narrow = Sized<test::Narrow, 24>;
using Words = Sized<test::Vocabulary, 50>;
using Heads = Sized<test::Three, 3>;
using Width = Sized<test::Narrow, 16>;

using Rows = Floats<Batch, Time, Wide>;
using Row = Floats<Wide>;
using HeadRows = Floats<Batch, Time, Heads, Width>;
using Queries = Floats<Batch, Time, Sized<test::Three, 4>, Sized<test::Narrow, 8>>;
using Keys = Floats<Batch, Source, Sized<test::Two, 2>, Sized<test::Narrow, 8>>;

const io::SafetensorsFile& fixture() {
  static const auto file = io::SafetensorsFile::open(CALM_FIXTURES "/ops.safetensors");
  return file;
}

/// |found - expected| <= 1e-5 · |expected|, or 1e-6 of the largest number where `expected` is close to zero
void check_close(const std::string& name, const float* found, const float* expected, std::size_t n) {
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(expected[i]));
  for (std::size_t i = 0; i < n; ++i) {
    INFO(name << ", element " << i << ": expected " << expected[i] << ", found " << found[i]);
    CHECK(std::abs(found[i] - expected[i]) <= std::max(1e-5f * std::abs(expected[i]), 1e-6f * largest));
  }
}

template <class X>
TrainableParameter<X> parameter(const std::string& name) {
  TrainableParameter<X> p;
  p.assign(fixture().load<X>(name));
  return p;
}

template <class X>
void check_gradient(const std::string& op, const char* operand, const TrainableParameter<X>& p) {
  REQUIRE(p.gradient() != nullptr);
  const auto expected = fixture().load<X>(op + ".d_" + operand);
  check_close(op + ".d_" + operand, p.gradient(), expected.data(), expected.size());
}

/// Checks f(operands...) and its gradient with respect to each operand.
template <class... X, class F>
void check(const std::string& op, const F& f, std::array<const char*, sizeof...(X)> names) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    std::tuple<TrainableParameter<X>...> operands{parameter<X>(op + '.' + names[I])...};
    Tape<Cpu> tape;
    const auto recording = tape.record();
    const auto y = f(std::get<I>(operands)()...);
    using Y = ValueOf<decltype(y)>;
    const auto expected = fixture().load<Y>(op + ".y");
    REQUIRE(y.value.size() == expected.size());
    check_close(op + ".y", y.value.data(), expected.data(), expected.size());
    backward(sum(y * fixture().load<Y>(op + ".dy")));
    (check_gradient(op, names[I], std::get<I>(operands)), ...);
  }(std::index_sequence_for<X...>{});
}

}  // namespace

TEST_CASE("linear and arithmetic agree with PyTorch") {
  const auto product = [](const auto& x, const auto& w) { return linear(x, w); };
  check<Rows, Floats<Narrow, Wide>>("linear", product, {"x", "w"});
  check<Rows, Floats<Wide, Narrow>>("linear_in_out", product, {"x", "w"});
  check<Rows, Rows>("add", [](const auto& x, const auto& w) { return x + w; }, {"x", "w"});
  check<Rows, Row>("add_row", [](const auto& x, const auto& w) { return x + w; }, {"x", "w"});
  check<Rows, Rows>("subtract", [](const auto& x, const auto& w) { return x - w; }, {"x", "w"});
  check<Rows, Rows>("multiply", [](const auto& x, const auto& w) { return x * w; }, {"x", "w"});
  check<Rows, Row>("multiply_row", [](const auto& x, const auto& w) { return x * w; }, {"x", "w"});
  check<Rows>("scale", [](const auto& x) { return scale(x, 0.375); }, {"x"});
}

TEST_CASE("activations and softmax agree with PyTorch") {
  check<Rows>("silu", [](const auto& x) { return silu(scale(x, 3)); }, {"x"});
  check<Rows>("gelu", [](const auto& x) { return gelu(scale(x, 3)); }, {"x"});
  check<Rows>("gelu_tanh", [](const auto& x) { return gelu_tanh(scale(x, 3)); }, {"x"});
  check<Rows, Rows>("swiglu", [](const auto& x, const auto& w) { return swiglu(x, w); }, {"x", "w"});
  check<Rows, Rows>("geglu", [](const auto& x, const auto& w) { return geglu(x, w); }, {"x", "w"});
  check<Rows, Rows>("geglu_exact", [](const auto& x, const auto& w) { return geglu_exact(x, w); }, {"x", "w"});
  check<Rows>("softmax", [](const auto& x) { return softmax(scale(x, 3)); }, {"x"});
}

TEST_CASE("norms agree with PyTorch") {
  check<Rows>("rms_norm_bare", [](const auto& x) { return rms_norm(x, 1e-5); }, {"x"});
  check<Rows, Row>("rms_norm", [](const auto& x, const auto& w) { return rms_norm(x, w, 1e-5); }, {"x", "w"});
  const auto gemma = [](const auto& x, const auto& w) { return rms_norm<NormScale::one_plus_weight>(x, w, 1e-6); };
  check<Rows, Row>("rms_norm_one_plus", gemma, {"x", "w"});
  const auto layer = [](const auto& x, const auto& w, const auto& b) { return layer_norm(x, w, b, 1e-5); };
  check<Rows, Row, Row>("layer_norm", layer, {"x", "w", "b"});
}

TEST_CASE("operations by index and position agree with PyTorch") {
  const auto tokens = fixture().load<Indices<Batch, Time>>("embedding.tokens");
  check<Floats<Words, Wide>>("embedding", [&](const auto& w) { return embedding(tokens, w); }, {"w"});

  const auto last = fixture().load<Indices<Batch>>("gather.index");
  check<Rows>("gather", [&](const auto& x) { return gather<Time>(x, last); }, {"x"});

  const auto positions = fixture().load<Indices<Batch, Time>>("rope.positions");
  check<HeadRows>("rope", [&](const auto& x) { return rope(x, positions, 1e4); }, {"x"});
  const auto pairs = [&](const auto& x) { return rope(x, positions, 5e5, RopeLayout::interleaved); };
  check<HeadRows>("rope_interleaved", pairs, {"x"});
}

TEST_CASE("reductions agree with PyTorch") {
  check<Rows>("sum_time", [](const auto& x) { return sum<Time>(x); }, {"x"});
  check<Rows>("mean_wide", [](const auto& x) { return mean<Wide>(x); }, {"x"});
  check<Rows>("mean", [](const auto& x) { return mean(x); }, {"x"});
}

TEST_CASE("attention agrees with PyTorch") {
  const auto begin = fixture().load<Indices<Batch, Time>>("attention.begin");
  const auto end = fixture().load<Indices<Batch, Time>>("attention.end");
  const auto biased = [&](const auto& q, const auto& k, const auto& v) {
    return attention(q, k, v, {end, begin, {}}, {.recency = {0.5, 0.25, 0, 0.125}});
  };
  check<Queries, Keys, Keys>("attention", biased, {"q", "k", "v"});

  auto causal = Indices<Batch, Time>(Shape<Batch, Time>(2, 20));
  for (std::size_t i = 0; i < causal.size(); ++i) causal.mutable_data()[i] = static_cast<Index>(i % 20 + 1);
  const auto plain = [&](const auto& q, const auto& k, const auto& v) { return attention(q, k, v, {causal, {}, {}}); };
  check<Queries, Keys, Keys>("attention_causal", plain, {"q", "k", "v"});
}

TEST_CASE("cross-entropy agrees with PyTorch") {
  const auto targets = fixture().load<Indices<Batch, Time>>("cross_entropy.targets");
  const auto loss = [&](const auto& x, const auto& w) { return linear_cross_entropy(x, w, targets); };
  check<Rows, Floats<Words, Wide>>("cross_entropy", loss, {"x", "w"});
}
