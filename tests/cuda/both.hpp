/// \file  One computation on two devices: the results and the gradients of the GPU against those of the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/cuda/memory.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/reduce.hpp"
#include "calm/tensor/philox.hpp"
#include "calm/tensor/var.hpp"
#include "support/axes.hpp"

namespace calm::test {

/// Tensor type `X` on another device, or of another element type.
template <class X, class Device>
using On = typename detail::TensorOn<typename X::value_type, Device, typename detail::ListOf<X>::type>::type;
template <class X, class T>
using As = typename detail::TensorOn<T, typename X::device, typename detail::ListOf<X>::type>::type;

/// How far the two may be apart, as a part of the largest number: sums are rounded in another order, and in bf16 and
/// f16 so is every result.
template <class T>
inline constexpr double tolerance =
    std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 1e-5 : std::is_same_v<T, f16> ? 2e-3 : 1.6e-2;

/// A seed that no run has seen before, unless the environment names one (CALM_TEST_SEED); it is part of every failure.
std::uint64_t seed();

/// Normal numbers of a tensor, a pure function of `number` and `seed()`.
template <class X>
X random_values(typename X::shape_type shape, std::uint64_t number, double deviation = 1) {
  X x(shape);
  auto* data = x.mutable_data();
  for (std::size_t i = 0; i < x.size(); ++i) {
    data[i] = static_cast<typename X::value_type>(static_cast<float>(deviation) * random_normal({seed(), number}, i));
  }
  return x;
}

/// Requires that numbers of the host and of the GPU agree; `least` is what a largest number below it counts as: what
/// is all but zero is what rounding left of numbers near 1.
template <class T>
void require_close(const std::string& what, std::size_t n, const T* host, const T* gpu, double scale = 1,
                   double least = 0.1) {
  double largest = least, apart = 0;
  std::size_t worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const auto a = static_cast<double>(host[i]), b = static_cast<double>(gpu[i]);
    if (a == b) continue;  // infinities too
    if (std::isfinite(a)) largest = std::max(largest, std::abs(a));
    const double difference = std::abs(a - b);
    if (!(difference <= apart) && !std::isnan(apart)) apart = difference, worst = i;  // what is no number stays
  }
  INFO(what << ", seed " << seed() << ": element " << worst << " of " << n);
  if (apart == 0) return;
  CAPTURE(static_cast<double>(host[worst]), static_cast<double>(gpu[worst]), largest);
  REQUIRE(apart <= scale * tolerance<T> * largest);
}
template <class T, class... A>
void require_close(const std::string& what, const Tensor<T, Cpu, A...>& host, const Tensor<T, Cuda, A...>& gpu,
                   double scale = 1) {
  REQUIRE(host.shape() == gpu.shape());
  require_close(what, host.size(), host.data(), on_host(gpu).data(), scale);
}

namespace detail {

template <class T>
struct Results {
  std::vector<T> value;
  std::vector<std::vector<T>> gradients;
};

/// f on a device: its result, and the gradients of Σ result · weight, the weights random.
template <class Device, class F, class... X>
auto results_on(const F& f, const X&... x) {
  using T = typename std::tuple_element_t<0, std::tuple<X...>>::value_type;
  std::tuple<TrainableParameter<On<X, Device>>...> parameters;
  std::apply([&](auto&... p) { (p.assign(move_to<Device>(x).clone()), ...); }, parameters);
  Tape<Device> tape;
  Results<T> results;
  {
    const auto recording = tape.record();
    const auto y = std::apply([&](auto&... p) { return f(Device{}, p()...); }, parameters);
    using Y = ValueOf<decltype(y)>;
    const auto host = on_host(value(y));
    results.value.assign(host.data(), host.data() + host.size());
    const auto weights = random_values<On<Y, Cpu>>(host.shape(), 99);
    calm::backward(sum(y * move_to<Device>(weights)));
  }
  std::apply([&](auto&... p) {
    const auto keep = [&](auto& parameter) {
      const std::size_t n = parameter.value().size();
      std::vector<T> g(n);
      REQUIRE(parameter.gradient() != nullptr);
      kernel::copy_to_host(Device{}, n * sizeof(T), parameter.gradient(), g.data());
      results.gradients.push_back(std::move(g));
    };
    (keep(p), ...);
  }, parameters);
  return results;
}

}  // namespace detail

/// The `least` of n numbers, each a sum of some of `terms` numbers near 1: of many sums one is large; one sum alone may
/// be nothing by chance, rounded though it is as one of its usual size, √terms.
inline double least_of(std::size_t n, std::size_t terms) {
  return n == 1 ? std::sqrt(static_cast<double>(terms)) : 0.1;
}

/// f(device, x...) on both devices, all operands trainable: results and gradients agree, and the GPU's have the same
/// bits twice.
template <class F, class... X>
void require_agreement(const std::string& what, double scale, const F& f, const X&... x) {
  const auto host = detail::results_on<Cpu>(f, x...), gpu = detail::results_on<Cuda>(f, x...);
  REQUIRE(host.value.size() == gpu.value.size());
  const std::size_t results = host.value.size(), operands = (x.size() + ...);
  require_close(what, results, host.value.data(), gpu.value.data(), scale, least_of(results, operands));
  for (std::size_t i = 0; i < host.gradients.size(); ++i) {
    const std::size_t n = host.gradients[i].size();
    require_close(what + ", gradient of operand " + std::to_string(i), n, host.gradients[i].data(),
                  gpu.gradients[i].data(), scale, least_of(n, results));
  }
  const auto again = detail::results_on<Cuda>(f, x...);
  const auto same_bits = [](const auto& a, const auto& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
  };
  INFO(what);
  REQUIRE(same_bits(gpu.value, again.value));
  for (std::size_t i = 0; i < gpu.gradients.size(); ++i) REQUIRE(same_bits(gpu.gradients[i], again.gradients[i]));
}
/// As above in element type `T`; X are types of doubles.
template <class T, class... X, class F>
void require_agreement_in(const std::string& what, const F& f, typename X::shape_type... shapes) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    require_agreement(what + " in " + dtype_name<T>, 1, f, random_values<As<X, T>>(shapes, I)...);
  }(std::index_sequence_for<X...>{});
}
/// As above for each element type.
template <class... X, class F>
void require_agreement_of_types(const std::string& what, const F& f, typename X::shape_type... shapes) {
  require_agreement_in<double, X...>(what, f, shapes...);
  require_agreement_in<float, X...>(what, f, shapes...);
  require_agreement_in<bf16, X...>(what, f, shapes...);
}

}  // namespace calm::test
