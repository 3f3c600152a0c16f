#include "calm/tensor/cpu/strided_product.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/philox.hpp"

namespace calm {

using kernel::Op;

TEMPLATE_TEST_CASE("large products of strided matrices are those of their numbers", "[gemm]", float, double) {
  using T = TestType;
  const std::size_t m = 205, n = 170, k = 700;  // no multiple of a tile, a panel or a block
  static_assert(m * n * k >= kernel::detail::blocked_from);
  std::vector<T> a(720 * 720), b(720 * 720), c(m * 180, T(1)), old = c;
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(random_normal({1, 1}, i));
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(random_normal({1, 2}, i));
  for (const bool turn_a : {false, true}) {
    for (const bool turn_b : {false, true}) {
      for (const bool add : {false, true}) {
        c = old;
        kernel::gemm<T>(Cpu{}, turn_a ? Op::transpose : Op::none, turn_b ? Op::transpose : Op::none, m, n, k, T(0.5),
                        {a.data(), 720}, {b.data(), 720}, add, {c.data(), 180});
        for (std::size_t i = 0; i < m; i += 3) {
          for (std::size_t j = 0; j < n; j += 7) {
            double sum = add ? 1 : 0;
            for (std::size_t l = 0; l < k; ++l) {
              sum += 0.5 * double(turn_a ? a[l * 720 + i] : a[i * 720 + l]) *
                     double(turn_b ? b[j * 720 + l] : b[l * 720 + j]);
            }
            CHECK(std::abs(double(c[i * 180 + j]) - sum) < (sizeof(T) == 8 ? 1e-11 : 1e-3));
          }
        }
        CHECK(c[175] == 1);  // between the rows
      }
    }
  }
}

}  // namespace calm
