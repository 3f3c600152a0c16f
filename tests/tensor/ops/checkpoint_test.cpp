#include "calm/tensor/ops/checkpoint.hpp"

#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/activation.hpp"
#include "calm/tensor/ops/dropout.hpp"
#include "calm/tensor/ops/linear.hpp"
#include "calm/tensor/ops/softmax.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

template <class T>
using Rows = Tensor<T, Cpu, Batch, Wide>;
template <class T>
using Weight = TrainableParameter<Tensor<T, Cpu, Wide, Wide>>;

/// x + dropout(gelu(x · Wᵀ)): it uses x twice, and keeps several values of its size.
template <class T>
struct Layer {
  const Weight<T>* w;
  int* calls = nullptr;

  template <Operand X>
  auto operator()(const X& x) const {
    if (calls != nullptr) ++*calls;
    return x + dropout(gelu_tanh(linear(x, (*w)())), 0.3, {5, 6});
  }
};

/// `f`, checkpointed or not.
template <class X, class F>
auto maybe(bool checkpointed, const X& x, const F& f) -> decltype(f(x)) {
  if (checkpointed) return checkpoint(x, f);
  return f(x);
}

template <class P>
auto gradient_bits(const P& p) {
  return std::vector(p.gradient(), p.gradient() + p.value().size());
}

}  // namespace

TEST_CASE("gradients through a checkpoint") {
  auto x = random_parameter<Rows<double>>(Shape<Batch, Wide>(3), 1);
  check_gradients([](const auto& a) { return checkpoint(a, [](const auto& v) { return gelu_tanh(v) * v; }); }, x);

  // Into a parameter that the part reads, whether its input has a gradient or not.
  auto w = random_parameter<Tensor<double, Cpu, Wide, Wide>>({}, 2);
  const auto weights = random_tensor<Rows<double>>(x.value().shape(), 3);
  const auto loss = [&](const auto& input) { return sum(checkpoint(input, Layer<double>{&w}) * weights); };
  const auto numeric = mixes::numeric_gradient([&] { return value(loss(x.value()))[0]; }, w);
  Tape<Cpu> tape;
  for (int passes = 1; passes <= 2; ++passes) {
    const auto recording = tape.record();
    passes == 1 ? backward(loss(x.value())) : backward(loss(x()));
    mixes::compare(w, numeric, true, passes, 1e-8);
  }
}

TEST_CASE("loss and gradients have the bits of the pass without checkpoints") {
  // Values and parameters used inside and outside, a part inside a part, and dropout.
  auto x = random_parameter<Rows<float>>(Shape<Batch, Wide>(5), 1);
  auto w = random_parameter<Tensor<float, Cpu, Wide, Wide>>({}, 2);
  Tape<Cpu> tape;
  std::vector<float> bits[2][3];
  for (const bool checkpointed : {false, true}) {
    x.zero_gradient();
    w.zero_gradient();
    const Layer<float> layer{&w};
    const auto two = [&](const auto& v) { return layer(maybe(checkpointed, v, layer)); };
    const auto recording = tape.record();
    const auto y = linear(maybe(checkpointed, x(), layer), w());
    const auto z = maybe(checkpointed, y, two) * y + x();
    const auto loss = sum(maybe(checkpointed, z, layer) * z);
    bits[checkpointed][0] = {loss.value[0]};
    backward(loss);
    CHECK(tape.node_count() == 0);
    bits[checkpointed][1] = gradient_bits(x);
    bits[checkpointed][2] = gradient_bits(w);
  }
  for (int i = 0; i < 3; ++i) CHECK(bits[0][i] == bits[1][i]);
}

TEST_CASE("a part is computed twice in training, once else, and not again for a gradient that nobody needs") {
  auto x = random_parameter<Rows<float>>(Shape<Batch, Wide>(2), 1);
  auto w = random_parameter<Tensor<float, Cpu, Wide, Wide>>({}, 2);
  int calls = 0;
  const Layer<float> layer{&w, &calls};
  checkpoint(x(), layer);
  CHECK(calls == 1);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  backward(sum(checkpoint(x(), layer)));
  CHECK(calls == 3);
  checkpoint(x(), layer);  // part of no loss
  backward(sum(checkpoint(x.value(), layer)));
  CHECK(calls == 6);
}

TEST_CASE("many parts take little more memory than their results, over and over") {
  auto x = random_parameter<Rows<float>>(Shape<Batch, Wide>(32000), 1);
  auto w = random_parameter<Tensor<float, Cpu, Wide, Wide>>({}, 2);
  constexpr int parts = 12;
  Tape<Cpu> tape;
  std::size_t peak[2], live = 0;
  for (int step = 0; step < 6; ++step) {
    CpuPool::instance().reset_peak();
    const std::size_t before = CpuPool::instance().use().live;
    const auto recording = tape.record();
    auto y = x();
    for (int i = 0; i < parts; ++i) y = maybe(step % 2 == 1, y, Layer<float>{&w});
    backward(sum(y));
    y = {};
    peak[step % 2] = CpuPool::instance().use().peak - before;
    if (step == 1) live = CpuPool::instance().use().live;
    if (step > 1) CHECK(CpuPool::instance().use().live == live);
  }
  CAPTURE(peak[0], peak[1]);
  CHECK(100 * peak[1] < 65 * peak[0]);
}

TEST_CASE("an exception in the second computation leaves an empty tape") {
  auto x = random_parameter<Rows<float>>(Shape<Batch, Wide>(2), 1);
  Tape<Cpu> tape;
  int calls = 0;
  const auto fails = [&](const auto& v) {
    auto y = gelu_tanh(v);
    if (++calls == 2) throw Error("no memory");
    return y;
  };
  const auto recording = tape.record();
  CHECK_THROWS_WITH(backward(sum(checkpoint(x() + x(), fails))), "no memory");
  CHECK(tape.node_count() == 0);
  x.zero_gradient();
  backward(sum(x() + x()));
  CHECK(x.gradient()[0] == 2);
}
