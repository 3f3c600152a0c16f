#include "calm/tensor/ops/packed_linear.hpp"

#include <catch2/catch.hpp>

#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/linear.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Broad {
  static constexpr std::size_t extent = 75;
};

/// The bf16 numbers nearest to x.
template <class X>
X rounded(const X& x) {
  X y(x.shape());
  for (std::size_t i = 0; i < x.size(); ++i) y.mutable_data()[i] = static_cast<float>(bf16(x[i]));
  return y;
}

}  // namespace

using X = Doubles<Batch, Time, Wide>;
using W = Doubles<Broad, Wide>;

// Whoever reads a packed weight keeps it and nothing of the input.
static_assert(sizeof(calm::detail::PackedLinearNode<X, Packed<double, W>>) <=
              sizeof(Packed<double, W>) + 2 * sizeof(std::size_t));

TEST_CASE("a packed product agrees with central differences") {
  const Packed<double, W> w(random_tensor<W>({}, 2));
  auto x = random_parameter<X>(Shape<Batch, Time, Wide>(2, 3), 1);
  check_gradients([&](const auto& in) { return linear(in, w); }, x);
}

TEST_CASE("a packed product is that of the tensor, forward and backward") {
  using In = Floats<Batch, Time, Wide>;
  const auto w = rounded(random_tensor<Floats<Broad, Wide>>({}, 2));
  auto x = random_parameter<In>(Shape<Batch, Time, Wide>(2, 3), 1);
  x.assign(rounded(x.value()));
  const auto weights = rounded(random_tensor<Floats<Batch, Time, Broad>>(Shape<Batch, Time, Broad>(2, 3), 5));
  const auto run = [&](const auto& weight) {
    x.zero_gradient();
    Tape<Cpu> tape;
    const auto recording = tape.record();
    const auto y = linear(x(), weight);
    backward(sum(y * weights));
    return std::pair(y.value, std::vector<float>(x.gradient(), x.gradient() + x.value().size()));
  };
  const auto [y, dx] = run(w);
  const auto check = [&](const auto& packed) {
    const auto [z, dz] = run(packed);
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(close(z[i], y[i], 1e-5));
    for (std::size_t i = 0; i < dx.size(); ++i) CHECK(close(dz[i], dx[i], 1e-5));
  };
  check(Packed<float, Floats<Broad, Wide>>(w));
  check(Packed<bf16, Floats<Broad, Wide>>(w));
}

TEST_CASE("a packed parameter gives back what was assigned, rounded") {
  using Matrix = Floats<Broad, Wide>;
  const auto w = random_tensor<Matrix>({}, 2);
  Parameter<FrozenAs<bf16>, Matrix> p;
  CHECK_FALSE(p.value().defined());
  p.assign(w);
  const auto expected = rounded(w), found = p.value();
  for (std::size_t i = 0; i < w.size(); ++i) CHECK(found[i] == expected[i]);
  static_assert(!decltype(p)::trainable);
  static_assert(std::is_same_v<Parameter<FrozenAs<bf16>, Floats<Wide>>, FrozenParameter<Floats<Wide>>>);
}
