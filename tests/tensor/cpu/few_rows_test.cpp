#include "calm/tensor/cpu/few_rows.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/philox.hpp"

using namespace calm;

namespace {

template <class T>
std::vector<T> random_numbers(std::size_t n, std::uint64_t seed) {
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<T>(random_normal({seed, 1}, i));
  return x;
}

template <class T>
std::vector<T> product(const std::vector<T>& x, const std::vector<T>& w, std::size_t rows, std::size_t outs,
                       std::size_t depth) {
  std::vector<T> y(rows * outs);
  kernel::gemm(Cpu{}, kernel::Op::none, kernel::Op::transpose, rows, outs, depth, Accumulator<T>(1),
               kernel::MatrixRef<const T>{x.data(), depth}, kernel::MatrixRef<const T>{w.data(), depth}, false,
               kernel::MatrixRef<T>{y.data(), outs});
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("few rows times a weight", "", float, double, bf16) {
  const double error = std::is_same_v<TestType, bf16> ? 8e-3 : std::is_same_v<TestType, float> ? 1e-5 : 1e-13;
  for (const std::size_t depth : {1u, 15u, 16u, 40u, 129u}) {
    for (const std::size_t outs : {1u, 4u, 7u}) {
      for (const std::size_t rows : {1u, 3u, 4u, 9u, 16u, 33u}) {
        const auto x = random_numbers<TestType>(rows * depth, 1), w = random_numbers<TestType>(outs * depth, 2);
        const auto y = product(x, w, rows, outs, depth);
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t o = 0; o < outs; ++o) {
            double sum = 0, size = 1;
            for (std::size_t k = 0; k < depth; ++k) {
              const double term = double(x[r * depth + k]) * double(w[o * depth + k]);
              sum += term;
              size += std::abs(term);
            }
            REQUIRE(double(y[r * outs + o]) == Approx(sum).margin(error * size));
          }
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("a row of few has the same bits whatever stands beside it", "", float, bf16) {
  constexpr std::size_t rows = kernel::detail::few_rows<TestType>, outs = 10, depth = 72;
  const auto x = random_numbers<TestType>(rows * depth, 1), w = random_numbers<TestType>(outs * depth, 2);
  const auto y = product(x, w, rows, outs, depth);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::vector<TestType> row(x.data() + r * depth, x.data() + (r + 1) * depth);
    const auto alone = product(row, w, 1, outs, depth);
    for (std::size_t o = 0; o < outs; ++o) CHECK(float(alone[o]) == float(y[r * outs + o]));
  }
}
