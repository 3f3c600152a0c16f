#include "calm/tensor/philox.hpp"

#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;

TEST_CASE("normal numbers are those of Box and Muller, one by one or many at once") {
  const RandomKey key{.seed = 0x123456789abcdef0, .stream = ~std::uint64_t{6}};
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{1}, (std::uint64_t{1} << 33) - 21}) {
    for (const std::size_t n : {0u, 1u, 2u, 31u, 32u, 33u, 100u}) {
      std::vector<float> many(n + 1, 7);
      random_normals(key, first, n, many.data());
      for (std::size_t i = 0; i < n; ++i) {
        const float u = 1.0f - random_uniform(key, 2 * (first + i)), v = random_uniform(key, 2 * (first + i) + 1);
        REQUIRE(many[i] == random_normal(key, first + i));
        REQUIRE(many[i] == Approx(std::sqrt(-2 * std::log(u)) * std::cos(6.28318531f * v)).margin(1e-5));
      }
      REQUIRE(many[n] == 7);
    }
  }
}

TEST_CASE("many normal numbers have mean 0 and variance 1") {
  std::vector<float> x(100'000);
  random_normals({.seed = 3, .stream = 4}, 0, x.size(), x.data());
  double sum = 0, squares = 0;
  for (const float value : x) sum += value, squares += double(value) * double(value);
  CHECK(sum / 1e5 == Approx(0).margin(0.01));
  CHECK(squares / 1e5 == Approx(1).margin(0.015));
}
