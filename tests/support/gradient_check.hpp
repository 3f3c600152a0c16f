/// \file  Gradients against central differences, in double, for every mix of trainable and frozen operands.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/reduce.hpp"
#include "calm/tensor/philox.hpp"
#include "calm/tensor/var.hpp"

namespace calm::test {

/// Normal random numbers, a pure function of `seed`.
template <class X>
X random_tensor(typename X::shape_type shape, std::uint64_t seed, double mean = 0, double deviation = 1) {
  X x(shape);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x.mutable_data()[i] = static_cast<typename X::value_type>(
        static_cast<float>(mean + deviation * static_cast<double>(random_normal({seed, 7}, i))));
  }
  return x;
}

/// A trainable parameter of random numbers.
template <class X>
TrainableParameter<X> random_parameter(typename X::shape_type shape, std::uint64_t seed, double mean = 0,
                                       double deviation = 1) {
  TrainableParameter<X> p;
  p.assign(random_tensor<X>(shape, seed, mean, deviation));
  return p;
}

/// |a - b| <= tolerance · max(1, |a|, |b|)
inline bool close(double a, double b, double tolerance) {
  return std::abs(a - b) <= tolerance * std::max({1.0, std::abs(a), std::abs(b)});
}

/// d loss() / d x by the five-point stencil; x is as before afterwards.
template <class Loss>
double slope_at(double& x, double h, const Loss& loss) {
  const double at = x;
  const auto shifted = [&](double by) {
    x = at + by;
    const double l = loss();
    x = at;
    return l;
  };
  return (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
}

namespace mixes {

template <std::size_t Mask, std::size_t I, class P>
decltype(auto) operand(const P& parameter) {
  if constexpr ((Mask >> I & 1) != 0)
    return parameter();
  else
    return parameter.value();
}

template <class Y>
double weighted_sum(const Y& y, const Y& weights) {
  double total = 0;
  for (std::size_t i = 0; i < y.size(); ++i) total += y[i] * weights[i];
  return total;
}

/// d loss / d parameter[i] by the five-point stencil.
template <class Loss, class P>
std::vector<double> numeric_gradient(const Loss& loss, P& parameter) {
  constexpr double h = 1e-3;
  std::vector<double> gradient(parameter.value().size());
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const auto original = parameter.value();
    const auto at = [&](double step) {
      auto moved = original.clone();
      moved.mutable_data()[i] += step;
      parameter.assign(moved);
      return loss();
    };
    gradient[i] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
    parameter.assign(original);
  }
  return gradient;
}

template <class P>
void compare(const P& parameter, const std::vector<double>& numeric, bool trainable, double times, double tolerance) {
  if (!trainable) {
    CHECK(parameter.gradient() == nullptr);
    return;
  }
  REQUIRE(parameter.gradient() != nullptr);
  for (std::size_t i = 0; i < numeric.size(); ++i) {
    INFO("element " << i << ": " << parameter.gradient()[i] << " against " << times << " times " << numeric[i]);
    CHECK(close(parameter.gradient()[i], times * numeric[i], tolerance));
  }
}

template <std::size_t Mask, std::size_t... I, class F, class Y, class... P>
void check_mix(std::index_sequence<I...>, const F& f, const Y& weights, const Y& expected,
               const std::vector<std::vector<double>>& numeric, double tolerance, P&... parameters) {
  INFO("trainable operands, as bits: " << Mask);
  (parameters.zero_gradient(), ...);
  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    const auto y = f(operand<Mask, I>(parameters)...);
    static_assert(is_var<decltype(y)>, "a trainable operand must make the result a Var");
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(y.value[i] == expected[i]);
    backward(sum(y * weights));
  }
  (compare(parameters, numeric[I], (Mask >> I & 1) != 0, 1, tolerance), ...);
  {  // again, used twice in one recording: gradients must add up, on the tape and across passes
    const auto recording = tape.record();
    const auto y = f(operand<Mask, I>(parameters)...), again = f(operand<Mask, I>(parameters)...);
    backward(sum(y * weights) + sum(again * weights));
  }
  (compare(parameters, numeric[I], (Mask >> I & 1) != 0, 3, 3 * tolerance), ...);
}

}  // namespace mixes

/// Checks the gradients of the loss Σ f(operands...) · w, with w pseudo-random, for every choice of which operands are
/// trainable: those agree with central differences, the others get no gradient, and the values never differ. The
/// parameters are of type double.
template <class F, class... P>
void check_gradients_within(double tolerance, const F& f, P&... parameters) {
  const auto y = f(parameters.value()...);
  static_assert(!is_var<decltype(y)>, "an operation on tensors alone must be plain inference");
  using Y = std::remove_const_t<decltype(y)>;
  const Y weights = random_tensor<Y>(y.shape(), 1234);
  const auto loss = [&] { return mixes::weighted_sum(f(parameters.value()...), weights); };
  const std::vector<std::vector<double>> numeric{mixes::numeric_gradient(loss, parameters)...};
  [&]<std::size_t... Less>(std::index_sequence<Less...>) {
    (mixes::check_mix<Less + 1>(std::index_sequence_for<P...>{}, f, weights, y, numeric, tolerance, parameters...),
     ...);
  }(std::make_index_sequence<(std::size_t{1} << sizeof...(P)) - 1>{});
}

/// The same to 1e-8, which every smooth operation reaches in double.
template <class F, class... P>
void check_gradients(const F& f, P&... parameters) {
  check_gradients_within(1e-8, f, parameters...);
}

}  // namespace calm::test
