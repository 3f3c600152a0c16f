#include "calm/tensor/ops/gated.hpp"

#include <catch2/catch.hpp>

#include "calm/tensor/ops/activation.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Doubles<Batch, Wide>;

static_assert(Gateable<X, Var<X>>);
static_assert(!Gateable<X, Doubles<Batch, Twin>>);

// A frozen gate keeps the other operand out of the node.
static_assert(sizeof(calm::detail::GatedNode<X, true, false>) ==
              sizeof(calm::detail::GatedNode<X, false, true>) + sizeof(X));

TEST_CASE("gated activations are the product of the two operations") {
  const auto g = random_tensor<Floats<Batch, Wide>>(Shape<Batch, Wide>(5), 1);
  const auto u = random_tensor<Floats<Batch, Wide>>(Shape<Batch, Wide>(5), 2);
  const auto s = swiglu(g, u), t = geglu(g, u), e = geglu_exact(g, u);
  const auto s2 = silu(g) * u, t2 = gelu_tanh(g) * u, e2 = gelu(g) * u;
  for (std::size_t i = 0; i < g.size(); ++i) {
    CHECK(close(s[i], s2[i], 1e-6));
    CHECK(close(t[i], t2[i], 1e-6));
    CHECK(close(e[i], e2[i], 1e-6));
  }
}

TEST_CASE("gated activations refuse operands of different lengths") {
  const auto g = Floats<Batch, Wide>::zeros(Shape<Batch, Wide>(2));
  const auto u = Floats<Batch, Wide>::zeros(Shape<Batch, Wide>(3));
  CHECK_THROWS_WITH(swiglu(g, u), Catch::Contains("calm::swiglu") && Catch::Contains("12") && Catch::Contains("18"));
}

TEST_CASE("gradients of the gated activations") {
  auto g = random_parameter<X>(Shape<Batch, Wide>(3), 1);
  auto u = random_parameter<X>(Shape<Batch, Wide>(3), 2);
  check_gradients([](const auto& a, const auto& b) { return swiglu(a, b); }, g, u);
  check_gradients([](const auto& a, const auto& b) { return geglu(a, b); }, g, u);
  check_gradients([](const auto& a, const auto& b) { return geglu_exact(a, b); }, g, u);
  check_gradients([](const auto& a) { return swiglu(a, a); }, g);
}
