#include "calm/tensor/cpu/packed_gradient.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <catch2/catch.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "calm/tensor/philox.hpp"

namespace calm {
namespace {

std::vector<float> random_numbers(std::size_t n, std::uint64_t seed) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(random_normal({seed, 3}, i));
  return x;
}

/// What three products give back, made as one and one after another.
template <class T>
struct Products {
  static constexpr std::array<std::size_t, 3> outs{1152, 45, 193}, widths{96, 0, 0};
  std::size_t rows, in;
  std::vector<float> table = random_numbers(rows * widths[0], 9);
  std::array<std::vector<kernel::WordOf<T>>, 3> words = {};
  std::array<std::vector<float>, 3> dy = {};

  Products(std::size_t n, std::size_t depth) : rows(n), in(depth) {
    for (std::size_t i = 0; i < 3; ++i) {
      const auto w = random_numbers(outs[i] * in, i);
      words[i].resize(kernel::packed_words<T>(outs[i], in));
      kernel::pack_weight<T>(Cpu{}, outs[i], in, w.data(), in, words[i].data());
      dy[i] = random_numbers(rows * outs[i], 4 + i);
    }
  }
  std::vector<float> joined(bool add) const {
    std::array<kernel::PackedGradient<T, float>, 3> sides;
    for (std::size_t i = 0; i < 3; ++i) sides[i] = {words[i].data(), outs[i], dy[i].data()};
    sides[0].turn = {table.data(), widths[0], widths[0]};
    std::vector<float> dx(rows * in, 1.0f);
    kernel::multiply_packed_transposed_each<T, float>(Cpu{}, rows, in, sides, add, dx.data());
    return dx;
  }
  std::vector<float> one_by_one(bool add) const {
    std::vector<float> dx(rows * in, 1.0f), turned(dy[0].size());
    kernel::rope_backward<float>(Cpu{}, rows, outs[0] / widths[0], widths[0], widths[0], false, table.data(),
                                 dy[0].data(), turned.data(), false);
    for (std::size_t i = 0; i < 3; ++i) {
      kernel::multiply_packed_transposed<T>(Cpu{}, rows, outs[i], in, i == 0 ? turned.data() : dy[i].data(),
                                            words[i].data(), add || i > 0, dx.data());
    }
    return dx;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("gradients joined are those added one by one", "[packed]", float, bf16) {
  const std::size_t rows = GENERATE(1u, 7u, 300u);
  const bool add = GENERATE(true, false);
  const Products<TestType> products(rows, 100);
  const auto found = products.joined(add), expected = products.one_by_one(add);
  for (std::size_t i = 0; i < found.size(); ++i) REQUIRE(std::abs(found[i] - expected[i]) < 1e-3f);  // of some 40
}

#ifdef _OPENMP
TEMPLATE_TEST_CASE("joined gradients have the same bits on any number of threads", "[packed]", float, bf16) {
  const Products<TestType> products(250, 70);
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto alone = products.joined(false);
  for (const int threads : {2, 3, 8}) {
    omp_set_num_threads(threads);
    CHECK((products.joined(false) == alone));
  }
  omp_set_num_threads(before);
}
#endif

}  // namespace calm
