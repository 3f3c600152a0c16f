#include "calm/tensor/cpu/transpose.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

#include <catch2/catch.hpp>

namespace calm {

using kernel::detail::SwapPairs;
using kernel::detail::transpose;

TEMPLATE_TEST_CASE("words change their row and column, and nothing beside them", "[transpose]", std::uint32_t,
                   std::uint64_t) {
  constexpr std::size_t x_row = 71, y_row = 53;
  for (const std::size_t rows : {1u, 3u, 8u, 16u, 17u, 32u, 50u}) {
    for (const std::size_t cols : {1u, 2u, 7u, 16u, 32u, 40u}) {
      std::vector<TestType> x(rows * x_row), y(cols * y_row, TestType(7)), expected = y;
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<TestType>(i * 0x9e3779b97f4a7c15u >> 8);
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < cols; ++c) expected[c * y_row + r] = x[r * x_row + c];
      }
      transpose<TestType>(rows, cols, x.data(), x_row, y.data(), y_row);
      CHECK(y == expected);
    }
  }
}

TEST_CASE("numbers of 2 bytes as squares of two by two", "[transpose]") {
  constexpr std::size_t rows = 18, cols = 11;  // of squares
  std::vector<std::uint16_t> x(rows * cols * 4), y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint16_t>(i);
  transpose<std::uint64_t, SwapPairs>(rows, cols, x.data(), cols, y.data(), rows);
  const auto at = [](const auto& v, std::size_t width, std::size_t r, std::size_t c, std::size_t i, std::size_t j) {
    return v[(r * width + c) * 4 + i * 2 + j];
  };
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      for (const std::size_t i : {0u, 1u}) {
        for (const std::size_t j : {0u, 1u}) CHECK(at(y, rows, c, r, j, i) == at(x, cols, r, c, i, j));
      }
    }
  }
}

}  // namespace calm
