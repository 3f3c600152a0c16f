#include "calm/tensor/cpu/math.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/cpu/lanes.hpp"
#include "calm/tensor/cpu/sum.hpp"

using namespace calm::kernel;

TEST_CASE("fast_exp keeps its stated accuracy over all exponents") {
  double worst = 0;
  // Every 4093rd float between 2^-30 and 88, of either sign.
  for (auto bits = std::bit_cast<std::uint32_t>(0x1p-30f); bits < std::bit_cast<std::uint32_t>(88.0f); bits += 4093) {
    for (const float sign : {1.0f, -1.0f}) {
      const float x = sign * std::bit_cast<float>(bits);
      if (x < -87) continue;
      const double expected = std::exp(static_cast<double>(x));
      worst = std::max(worst, std::abs(static_cast<double>(fast_exp(x)) - expected) / expected);
    }
  }
  CHECK(worst < 2.5e-7);
  CHECK(worst > 1e-9);  // it was measured at all
  CHECK(fast_exp(0.0f) == 1.0f);
  CHECK(fast_exp(-1000.0f) < 2e-38f);
  CHECK(fast_exp(1000.0f) > 1e38f);
  CHECK(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("exp_of a register is as near in each lane, and exactly 0 far below") {
  using L = calm::kernel::detail::Lanes<float>;
  double worst = 0;
  for (float x = -87; x < 88; x += 0.00713f) {
    const auto y = native::exp_of<float>(L::type{} + x);
    const double expected = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(y[L::count - 1]) - expected) / expected);
  }
  CHECK(worst < 2.5e-7);
  CHECK(worst > 1e-9);
  CHECK(native::exp_of<float>(L::type{})[0] == 1.0f);
  CHECK(native::exp_of<float>(L::type{} - 87.5f)[0] == 0.0f);
  CHECK(native::exp_of<float>(L::type{} - std::numeric_limits<float>::infinity())[0] == 0.0f);
  CHECK(std::isnan(native::exp_of<float>(L::type{} + std::numeric_limits<float>::quiet_NaN())[0]));
}

TEMPLATE_TEST_CASE("square_roots are those of std::sqrt, whatever is left over", "", float, double) {
  for (const std::size_t n : {0u, 1u, 4u, 15u, 16u, 17u, 100u}) {
    std::vector<TestType> x(n), y(n + 1, TestType(-1));
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<TestType>(i * i * i) * TestType(0.37);
    square_roots(n, x.data(), y.data());
    for (std::size_t i = 0; i < n; ++i) CHECK(y[i] == std::sqrt(x[i]));
    CHECK(y[n] == TestType(-1));
  }
}

TEST_CASE("the largest of a row is found in every place") {
  for (const std::size_t n : {1u, 5u, 16u, 17u, 40u}) {
    for (std::size_t at = 0; at < n; ++at) {
      std::vector<float> x(n);
      for (std::size_t i = 0; i < n; ++i) x[i] = -100.0f - static_cast<float>(i);
      x[at] = -3;
      CHECK(calm::kernel::detail::largest(n, x.data()) == -3.0f);
    }
  }
}
