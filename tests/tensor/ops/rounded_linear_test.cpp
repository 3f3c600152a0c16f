#include "calm/tensor/ops/rounded_linear.hpp"

#include <cstddef>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/linear.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using X = Floats<Batch, Time, Wide>;
using W = Floats<Narrow, Wide>;

// What no gradient reads is not kept.
template <bool NeedX, bool NeedW>
using Node = calm::detail::LinearNode<calm::detail::RoundedProduct, X, W, NeedX, NeedW, false>;
static_assert(sizeof(Node<true, false>) == sizeof(W) + 2 * sizeof(std::size_t));
static_assert(sizeof(Node<false, true>) == sizeof(X) + 2 * sizeof(std::size_t));

namespace {

/// Small integers: they, and the sums of their products, are the same in bf16, so rounding changes nothing.
template <class T>
TrainableParameter<T> integers(typename T::shape_type shape, std::size_t step) {
  TrainableParameter<T> p;
  T x(shape);
  for (std::size_t i = 0; i < x.size(); ++i) x.mutable_data()[i] = static_cast<float>(i * step % 7) - 3;
  p.assign(x);
  return p;
}

}  // namespace

TEST_CASE("a rounded linear layer of numbers that bf16 holds is linear, and so are its gradients") {
  auto x = integers<X>(Shape<Batch, Time, Wide>(2, 5), 3), y = integers<X>(Shape<Batch, Time, Wide>(2, 5), 3);
  auto w = integers<W>({}, 5), v = integers<W>({}, 5);
  const auto weights = integers<Floats<Batch, Time, Narrow>>(Shape<Batch, Time, Narrow>(2, 5), 4);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto rounded = rounded_linear(x(), w()), exact = linear(y(), v());
  for (std::size_t i = 0; i < rounded.value.size(); ++i) CHECK(rounded.value[i] == exact.value[i]);
  backward(sum(rounded * weights.value()) + sum(exact * weights.value()));
  for (std::size_t i = 0; i < x.value().size(); ++i) CHECK(x.gradient()[i] == y.gradient()[i]);
  for (std::size_t i = 0; i < w.value().size(); ++i) CHECK(w.gradient()[i] == v.gradient()[i]);
}
