#include "calm/tensor/cpu/strided_product.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/philox.hpp"

namespace calm {

using kernel::Op;

TEMPLATE_TEST_CASE("large products of strided matrices are those of their numbers", "[gemm]", float, double) {
  using T = TestType;
  const std::size_t m = 205, n = 170, k = 700;  // no multiple of a tile, a panel or a block
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

namespace {

/// op(A) · op(B) / 2 for the first m rows of A: [40, k], or [k, 40] transposed, and B: [k, n], or [n, k].
template <class T>
std::vector<T> half_product(bool turn_a, bool turn_b, std::size_t m, std::size_t n, std::size_t k,
                            const std::vector<T>& a, const std::vector<T>& b) {
  std::vector<T> c(m * n, T(NAN));
  kernel::detail::strided_product(m, n, kernel::detail::StridedLeft<T>{a.data(), turn_a ? 40 : k, turn_a, k, T(0.5)},
                                  kernel::detail::StridedRight<T>{b.data(), turn_b ? k : n, turn_b}, false, c.data(),
                                  n);
  return c;
}

}  // namespace

TEMPLATE_TEST_CASE("small products of any extents, each row the same bits whatever rows are multiplied with it",
                   "[gemm]", float, double) {
  using T = TestType;
  for (const auto& [n, k] : {std::pair<std::size_t, std::size_t>{1, 1}, {3, 20}, {33, 5}, {150, 70}, {70, 1300}}) {
    std::vector<T> a(40 * k), b(n * k);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(random_normal({1, 3}, i));
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(random_normal({1, 4}, i));
    for (const bool turn_a : {false, true}) {
      for (const bool turn_b : {false, true}) {
        const auto all = half_product(turn_a, turn_b, 40, n, k, a, b);
        for (std::size_t i = 0; i < all.size(); i += 1 + i % 5) {
          double sum = 0;
          for (std::size_t l = 0; l < k; ++l) {
            sum += 0.5 * double(turn_a ? a[l * 40 + i / n] : a[i / n * k + l]) *
                   double(turn_b ? b[i % n * k + l] : b[l * n + i % n]);
          }
          CHECK(std::abs(double(all[i]) - sum) < (sizeof(T) == 8 ? 1e-11 : 1e-3));
        }
        for (const std::size_t m : {1u, 2u, 3u, 7u, 13u, 39u}) {
          const auto some = half_product(turn_a, turn_b, m, n, k, a, b);
          CHECK(std::equal(some.begin(), some.end(), all.begin()));
        }
      }
    }
  }
}

#ifdef _OPENMP
TEMPLATE_TEST_CASE("a product has the same bits on any number of threads", "[gemm]", float, double) {
  using T = TestType;
  const std::size_t m = 40, n = 1100, k = 300;  // work for several threads, of one or two rows too
  const int before = omp_get_max_threads();
  std::vector<T> a(m * k), b(n * k);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(random_normal({1, 5}, i));
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(random_normal({1, 6}, i));
  for (const std::size_t rows : {1u, 2u, 40u}) {
    for (const bool turn_b : {false, true}) {
      omp_set_num_threads(1);
      const auto one = half_product(false, turn_b, rows, n, k, a, b);
      for (const int threads : {2, 3, 8}) {
        omp_set_num_threads(threads);
        CHECK(half_product(false, turn_b, rows, n, k, a, b) == one);
      }
    }
  }
  omp_set_num_threads(before);
}
#endif

}  // namespace calm
