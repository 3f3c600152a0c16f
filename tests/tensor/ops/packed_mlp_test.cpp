#include "calm/tensor/ops/packed_mlp.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/gated.hpp"
#include "calm/tensor/ops/packed_linear.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Broad {
  static constexpr std::size_t extent = 75;
};

/// The layer's weights, kept in `Stored`.
template <class Stored, class T>
struct Weights {
  using Up = Packed<Stored, Tensor<T, Cpu, Broad, Wide>>;
  using Down = Packed<Stored, Tensor<T, Cpu, Wide, Broad>>;
  Up gate{random_tensor<typename Up::tensor_type>({}, 2)}, up{random_tensor<typename Up::tensor_type>({}, 3)};
  Down down{random_tensor<typename Down::tensor_type>({}, 4)};

  auto whole(const auto& x, kernel::Activation kind) const { return packed_mlp(x, kind, gate, up, down); }
  auto in_parts(const auto& x, kernel::Activation kind) const {
    const auto g = linear(x, gate), u = linear(x, up);
    return linear(kind == kernel::Activation::silu ? swiglu(g, u) : geglu(g, u), down);
  }
};

/// The result of f(x) and the gradient of x.
template <class P, class F>
auto run(P& x, const F& f) {
  using X = typename P::tensor_type;
  x.zero_gradient();
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto y = f(x());
  backward(sum(y * random_tensor<X>(x.value().shape(), 5)));
  return std::pair(y.value, std::vector<double>(x.gradient(), x.gradient() + x.value().size()));
}

constexpr auto silu = kernel::Activation::silu, gelu = kernel::Activation::gelu_tanh;

}  // namespace

using X = Doubles<Batch, Time, Wide>;

TEST_CASE("a packed feed-forward layer agrees with central differences") {
  const Weights<double, double> w;
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  check_gradients([&](const auto& in) { return w.whole(in, silu); }, x);
  check_gradients([&](const auto& in) { return w.whole(in, gelu); }, x);
  check_gradients([&](const auto& in) { return w.whole(in, silu) + in; }, x);  // one gradient comes before the other
}

TEST_CASE("a packed feed-forward layer is its parts, forward to the bit where nothing is rounded", "[blocks]") {
  const Weights<float, float> w;
  auto x = random_parameter<Floats<Batch, Time, Wide>>(Shape<Batch, Time, Wide>(4, 300), 1);  // more than one block
  for (const auto kind : {silu, gelu}) {
    const auto [y, dx] = run(x, [&](const auto& in) { return w.whole(in, kind); });
    const auto [z, dz] = run(x, [&](const auto& in) { return w.in_parts(in, kind); });
    const auto untaped = w.whole(x.value(), kind);
    for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(y[i] == z[i]);
    for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(untaped[i] == z[i]);
    double largest = 0;
    for (const double g : dz) largest = std::max(largest, std::abs(g));
    for (std::size_t i = 0; i < dx.size(); ++i) REQUIRE(std::abs(dx[i] - dz[i]) <= 1e-6 * largest);
  }
}

TEST_CASE("in bf16 the result has the bits of its parts, and the gradient is as near as theirs") {
  const Weights<bf16, float> w;
  const Weights<double, double> exact;
  auto x = random_parameter<Floats<Batch, Time, Wide>>(Shape<Batch, Time, Wide>(2, 300), 1);
  auto wide = random_parameter<X>(Shape<Batch, Time, Wide>(2, 300), 1);
  const auto [y, dx] = run(x, [&](const auto& in) { return w.whole(in, silu); });
  const auto [z, dz] = run(x, [&](const auto& in) { return w.in_parts(in, silu); });
  const auto expected = run(wide, [&](const auto& in) { return exact.whole(in, silu); }).second;
  for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(y[i] == z[i]);
  double ours = 0, theirs = 0;
  for (std::size_t i = 0; i < dx.size(); ++i) {
    ours += std::pow(dx[i] - expected[i], 2);
    theirs += std::pow(dz[i] - expected[i], 2);
  }
  INFO("squared errors " << ours << " and " << theirs);
  CHECK(ours > 0);
  CHECK(ours < 1.5 * theirs);
}

TEST_CASE("nothing wide is kept but the activation's operands, in the weights' type") {
  const Weights<bf16, float> w;
  auto x = random_parameter<Floats<Batch, Time, Wide>>(Shape<Batch, Time, Wide>(2, 300), 1);
  Tape<Cpu> tape;
  const std::size_t before = CpuPool::instance().use().live;
  const auto recording = tape.record();
  const auto y = w.whole(x(), silu);
  CHECK(CpuPool::instance().use().live - before ==
        2 * CpuPool::block_bytes(600 * 75 * 2) + CpuPool::block_bytes(y.value.size() * 4));
}
