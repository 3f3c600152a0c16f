#include "calm/tensor/cpu/rounded_product.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/philox.hpp"

namespace calm {

using kernel::Op;

namespace {

double rounded(float x) { return static_cast<double>(static_cast<float>(bf16(x))); }

/// Compares with the sums of rounded numbers in fp64. Matrices lie in rows of 720.
void check_product(std::size_t m, std::size_t n, std::size_t k, bool turn_a, bool turn_b, bool add) {
  std::vector<float> a(720 * 720), b(720 * 720), c(m * 180, 1.0f);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(random_normal({1, 1}, i));
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(random_normal({1, 2}, i));
  kernel::rounded_gemm(Cpu{}, turn_a ? Op::transpose : Op::none, turn_b ? Op::transpose : Op::none, m, n, k,
                       {a.data(), 720}, {b.data(), 720}, add, {c.data(), 180});
  double worst = 0;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = add ? 1 : 0;
      for (std::size_t l = 0; l < k; ++l)
        sum += rounded(turn_a ? a[l * 720 + i] : a[i * 720 + l]) * rounded(turn_b ? b[j * 720 + l] : b[l * 720 + j]);
      worst = std::max(worst, std::abs(static_cast<double>(c[i * 180 + j]) - sum));
    }
  }
  CAPTURE(m, n, k, turn_a, turn_b, add);
  CHECK(worst < 2e-4);
  CHECK(c[m * 180 - 5] == 1);  // between the rows
}

}  // namespace

TEST_CASE("rounded products are those of rounded numbers", "[gemm]") {
  for (const bool turn_a : {false, true}) {
    for (const bool turn_b : {false, true}) {
      for (const bool add : {false, true}) {
        check_product(205, 170, 713, turn_a, turn_b, add);  // many rows; nothing is a whole tile, panel or word
        check_product(7, 33, 9, turn_a, turn_b, add);
        check_product(70, 32, 1, turn_a, turn_b, add);
      }
    }
  }
}

TEST_CASE("rounded products of a few rows with a weight are exact", "[gemm]") {
  const std::vector<float> x{1 + 0x1p-12f, 3}, w{1, 0, 0, 1};
  std::vector<float> y(2);
  kernel::rounded_gemm(Cpu{}, Op::none, Op::transpose, 1, 2, 2, {x.data(), 2}, {w.data(), 2}, false, {y.data(), 2});
  CHECK(y == x);
}

}  // namespace calm
