#include "calm/tensor/ops/norm.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/arithmetic.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Time, Wide>;
using W = Doubles<Wide>;

static_assert(Normalizable<X, W>);
static_assert(!Normalizable<X, Doubles<Twin>>, "as wide, but another axis");
static_assert(!Normalizable<X, Floats<Wide>>, "another element type");
static_assert(!Normalizable<X, X>, "a weight has one axis");

// What is frozen costs no room: a node without a gradient for x keeps no weight, and one for the bias alone keeps no x.
static_assert(sizeof(detail::RmsNormNode<X, W, false, true>) == sizeof(X) + sizeof(void*) + 2 * sizeof(double));
static_assert(sizeof(detail::RmsNormNode<X, W, true, false>) ==
              sizeof(detail::RmsNormNode<X, W, false, true>) + sizeof(W));
static_assert(sizeof(detail::LayerNormNode<X, W, false, false, true>) == 2 * sizeof(std::size_t));

TEST_CASE("rms_norm divides by the root of the mean square") {
  const auto x = Floats<Batch, Two>::from(Shape<Batch, Two>(2), {3, 4, -6, 8});
  const auto y = rms_norm(x, 0.0);
  const float rms = std::sqrt(12.5f);
  CHECK(y[0] == Approx(3 / rms));
  CHECK(y[3] == Approx(8 / (2 * rms)));

  const auto w = Floats<Two>::from({}, {2, -1});
  CHECK(rms_norm(x, w, 0.0)[0] == Approx(6 / rms));
  CHECK(rms_norm(x, w, 0.0)[3] == Approx(-4 / rms));
  CHECK(rms_norm<NormScale::one_plus_weight>(x, w, 0.0)[0] == Approx(9 / rms));
  CHECK(rms_norm<NormScale::one_plus_weight>(x, w, 0.0)[3] == 0);
  CHECK(rms_norm(Floats<Two>::zeros({}), 1e-6)[0] == 0);
}

TEST_CASE("a norm of a sum has the bits of the sum and its norm, and their gradients") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  auto y = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 2);
  auto w = random_parameter<W>({}, 3);
  auto b = random_parameter<W>({}, 4);
  const auto same = [](const X& a, const X& other) { return std::equal(a.data(), a.data() + a.size(), other.data()); };
  const X sum = x.value() + y.value();
  const auto [s, r] = add_rms_norm(x.value(), y.value(), w.value(), 1e-6);
  CHECK(same(s, sum));
  CHECK(same(r, rms_norm(sum, w.value(), 1e-6)));
  const auto [t, l] = add_layer_norm(x.value(), y.value(), w.value(), b.value(), 1e-5);
  CHECK(same(t, sum));
  CHECK(same(l, layer_norm(sum, w.value(), b.value(), 1e-5)));
  check_gradients([](const auto& p, const auto& q, const auto& v) {
    const auto [h, n] = add_rms_norm<NormScale::one_plus_weight>(p, q, v, 1e-6);
    return n * scale(h, 0.5) + h;
  }, x, y, w);
  check_gradients([](const auto& p, const auto& q, const auto& v, const auto& c) {
    const auto [h, n] = add_layer_norm(p, q, v, c, 1e-5);
    return n + h;  // the sum's gradient is shared, so the norm's backward pass may not write where it stands
  }, x, y, w, b);
}

TEST_CASE("layer_norm gives mean 0 and variance 1") {
  const auto x = Floats<Batch, Two>::from(Shape<Batch, Two>(1), {3, 7});
  const auto y = layer_norm(x, Floats<Two>::full({}, 2), Floats<Two>::full({}, 5), 0.0);
  CHECK(y[0] == Approx(3));
  CHECK(y[1] == Approx(7));
}

TEST_CASE("layer_norm keeps its digits far from zero") {
  const auto x = Floats<Wide>::from({}, {10001, 10002, 10003, 10004, 10005, 10006});
  const auto y = layer_norm(x, Floats<Wide>::full({}, 1), Floats<Wide>::zeros({}), 0.0);
  CHECK(y[0] == Approx(-2.5 / std::sqrt(35.0 / 12)).epsilon(1e-5));
}

TEST_CASE("norms in bf16 compute in float and round once") {
  const auto x = random_tensor<Tensor<bf16, Cpu, Batch, Wide>>(Shape<Batch, Wide>(3), 1);
  const auto w = random_tensor<Tensor<bf16, Cpu, Wide>>({}, 2);
  Floats<Batch, Wide> wide_x(x.shape());
  Floats<Wide> wide_w{Shape<Wide>{}};
  for (std::size_t i = 0; i < x.size(); ++i) wide_x.mutable_data()[i] = x[i];
  for (std::size_t i = 0; i < w.size(); ++i) wide_w.mutable_data()[i] = w[i];
  const auto narrow = rms_norm(x, w, 1e-6);
  const auto wide = rms_norm(wide_x, wide_w, 1e-6);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(narrow[i].bits == bf16(wide[i]).bits);
}

TEST_CASE("a norm may keep its input in bf16") {
  using In = Floats<Batch, Time, Wide>;
  const auto w = random_tensor<Floats<Wide>>({}, 2);
  auto x = random_parameter<In>(Shape<Batch, Time, Wide>(2, 3), 1);
  const auto weights = random_tensor<In>(x.value().shape(), 5);
  const auto run = [&](const auto& norm) {
    x.zero_gradient();
    Tape<Cpu> tape;
    const auto recording = tape.record();
    const auto y = norm(x());
    backward(sum(y * weights));
    return std::pair(y.value, std::vector<float>(x.gradient(), x.gradient() + x.value().size()));
  };
  const auto [y, dx] = run([&](const auto& a) { return rms_norm(a, w, 1e-6); });
  const auto [z, dz] = run([&](const auto& a) { return rms_norm<NormScale::weight, bf16>(a, w, 1e-6); });
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(z[i] == y[i]);
  double off = 0;
  for (std::size_t i = 0; i < dx.size(); ++i) off = std::max(off, std::abs(double(dz[i]) - double(dx[i])));
  CHECK(off > 0);
  CHECK(off < 0.01);

  Tape<Cpu> tape;
  const std::size_t before = CpuPool::instance().use().live;
  const auto recording = tape.record();
  const auto kept = rms_norm<NormScale::weight, bf16>(scale(x(), 2), w, 1e-6);
  CHECK(CpuPool::instance().use().live - before ==
        CpuPool::block_bytes(kept.value.size() * 4) + CpuPool::block_bytes(x.value().size() * 2) +
            CpuPool::block_bytes(6 * 4));
}

TEST_CASE("gradients of the norms") {
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  auto w = random_parameter<W>({}, 2);
  auto b = random_parameter<W>({}, 3);
  check_gradients([](const auto& a) { return rms_norm(a, 1e-2); }, x);
  check_gradients([](const auto& a, const auto& g) { return rms_norm(a, g, 1e-2); }, x, w);
  check_gradients([](const auto& a, const auto& g) { return rms_norm<NormScale::one_plus_weight>(a, g, 1e-6); }, x, w);
  check_gradients([](const auto& a, const auto& g, const auto& c) { return layer_norm(a, g, c, 1e-5); }, x, w, b);
}
