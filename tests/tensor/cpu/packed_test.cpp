#include "calm/tensor/cpu/packed.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/cpu/memory.hpp"
#include "calm/tensor/philox.hpp"

namespace calm {
namespace {

template <class T>
using Numbers = std::vector<Accumulator<T>>;

/// Random numbers that T holds exactly.
template <class T>
Numbers<T> random_numbers(std::size_t n, std::uint64_t seed) {
  Numbers<T> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<Accumulator<T>>(static_cast<T>(random_normal({seed, 3}, i)));
  return x;
}

template <class T>
std::vector<kernel::WordOf<T>> packed(std::size_t out, std::size_t in, const Numbers<T>& w) {
  std::vector<kernel::WordOf<T>> words(kernel::panels_in(out) * kernel::words_in<T>(in) * kernel::panel_width);
  kernel::pack_weight<T>(Cpu{}, out, in, w.data(), in, words.data());
  return words;
}

/// Compares with sums in double, of which each rounding in A may take a part.
template <class A, class Sum>
void check_close(std::size_t depth, std::size_t i, A found, const Sum& of) {
  double expected = 0, size = 0;
  for (std::size_t k = 0; k < depth; ++k) expected += of(k), size += std::abs(of(k));
  const double tolerance = (std::is_same_v<A, double> ? 1e-15 : 4e-7) * (2 + std::sqrt(double(depth))) * size;
  INFO("element " << i << " of depth " << depth);
  CHECK(std::abs(found - expected) <= tolerance);
}

struct Shape3 {
  std::size_t rows, out, in;
};
/// Around the edges of tiles, panels, squares and blocks.
const Shape3 shapes[] = {{1, 1, 1},    {1, 133, 7},  {2, 290, 64},  {3, 31, 65},  {5, 40, 129},  {7, 64, 2},
                         {12, 96, 33}, {13, 70, 50}, {97, 100, 36}, {4, 45, 700}, {9, 1300, 40}, {3, 600, 1290}};

}  // namespace

TEMPLATE_TEST_CASE("products with a packed weight are those of its numbers", "[packed]", float, double, bf16) {
  using T = TestType;
  using A = Accumulator<T>;
  for (const auto [rows, out, in] : shapes) {
    const auto w = random_numbers<T>(out * in, 1), x = random_numbers<T>(rows * in, 2),
               dy = random_numbers<T>(rows * out, 3);
    const auto words = packed<T>(out, in, w);
    std::vector<A> y(rows * out, A(NAN)), dx(rows * in, A(NAN));
    kernel::multiply_packed<T>(Cpu{}, rows, out, in, x.data(), words.data(), false, y.data());
    kernel::multiply_packed_transposed<T>(Cpu{}, rows, out, in, dy.data(), words.data(), false, dx.data());
    for (std::size_t i = 0; i < y.size(); ++i) {
      const A *left = &x[i / out * in], *right = &w[i % out * in];
      check_close(in, i, y[i], [&](std::size_t k) { return double(left[k]) * double(right[k]); });
    }
    for (std::size_t i = 0; i < dx.size(); ++i) {
      const A *left = &dy[i / in * out], *right = &w[i % in];
      check_close(out, i, dx[i], [&](std::size_t k) { return double(left[k]) * double(right[k * in]); });
    }
  }
}

TEMPLATE_TEST_CASE("a packed product is added to what is there", "[packed]", float, bf16) {
  using T = TestType;
  const std::size_t rows = 14, out = 50, in = 1500;
  const auto w = random_numbers<T>(out * in, 1), x = random_numbers<T>(rows * in, 2);
  const auto words = packed<T>(out, in, w);
  std::vector<float> y(rows * out), sum(rows * out, 1000);
  kernel::multiply_packed<T>(Cpu{}, rows, out, in, x.data(), words.data(), false, y.data());
  kernel::multiply_packed<T>(Cpu{}, rows, out, in, x.data(), words.data(), true, sum.data());
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::abs(sum[i] - 1000 - y[i]) < 0.01f);
}

TEMPLATE_TEST_CASE("a row has the same bits whatever rows stand beside it", "[packed]", float, bf16) {
  using T = TestType;
  const std::size_t rows = 37, out = 200, in = 1400;
  const auto w = random_numbers<T>(out * in, 1), x = random_numbers<T>(rows * in, 2),
             dy = random_numbers<T>(rows * out, 3);
  const auto words = packed<T>(out, in, w);
  std::vector<float> y(rows * out), dx(rows * in), one(std::max(out, in));
  kernel::multiply_packed<T>(Cpu{}, rows, out, in, x.data(), words.data(), false, y.data());
  kernel::multiply_packed_transposed<T>(Cpu{}, rows, out, in, dy.data(), words.data(), false, dx.data());
  for (std::size_t r = 0; r < rows; ++r) {
    kernel::multiply_packed<T>(Cpu{}, 1, out, in, &x[r * in], words.data(), false, one.data());
    CHECK(std::equal(&y[r * out], &y[r * out] + out, one.data()));
    kernel::multiply_packed_transposed<T>(Cpu{}, 1, out, in, &dy[r * out], words.data(), false, one.data());
    CHECK(std::equal(&dx[r * in], &dx[r * in] + in, one.data()));
  }
}

TEMPLATE_TEST_CASE("a gradient made in several pieces is that of each row alone", "[packed]", float, bf16) {
  using T = TestType;
  const std::size_t rows = 100, out = 40, in = 12000;
  const auto w = random_numbers<T>(out * in, 1), dy = random_numbers<T>(rows * out, 3);
  const auto words = packed<T>(out, in, w);
  std::vector<float> dx(rows * in), one(in);
  kernel::multiply_packed_transposed<T>(Cpu{}, rows, out, in, dy.data(), words.data(), false, dx.data());
  for (const std::size_t r : {std::size_t{0}, rows - 1}) {
    kernel::multiply_packed_transposed<T>(Cpu{}, 1, out, in, &dy[r * out], words.data(), false, one.data());
    CHECK(std::equal(&dx[r * in], &dx[r * in] + in, one.data()));
  }
}

TEMPLATE_TEST_CASE("products of one x are those of each weight alone, turned or not, to the bit", "[packed]", float,
                   bf16) {
  using T = TestType;
  const std::size_t in = GENERATE(7u, 576u, 1500u), rows = GENERATE(1u, 2u, 5u, 250u);
  const std::size_t outs[] = {576, 40, 192}, widths[] = {64, 0, 24};
  const auto table = random_numbers<T>(rows * 64, 5);
  const auto x = random_numbers<T>(rows * in, 2);
  std::vector<std::vector<kernel::WordOf<T>>> words;
  std::vector<std::vector<float>> found, expected;
  for (const std::size_t out : outs) {
    words.push_back(packed<T>(out, in, random_numbers<T>(out * in, out)));
    found.emplace_back(rows * out, 7.0f);
    expected.emplace_back(rows * out, 7.0f);
    kernel::multiply_packed<T>(Cpu{}, rows, out, in, x.data(), words.back().data(), false, expected.back().data());
    if (const std::size_t width = widths[words.size() - 1]; width > 0) {
      float* const y = expected.back().data();
      kernel::rope<float>(Cpu{}, rows, out / width, width, width - 2, false, table.data(), y, y);
    }
  }
  const auto side = [&](std::size_t i) {
    kernel::PackedSide<T> s{words[i].data(), outs[i], found[i].data()};
    if (widths[i] > 0) s.turn = {table.data(), widths[i], widths[i] - 2};
    return s;
  };
  kernel::multiply_packed_each(Cpu{}, rows, in, x.data(), std::array{side(0), side(1), side(2)});
  CHECK(found == expected);
}

#ifdef _OPENMP
TEMPLATE_TEST_CASE("a packed product has the same bits on any number of threads", "[packed]", float, bf16) {
  using T = TestType;
  const std::size_t rows = 150, out = 400, in = 1400;
  const auto w = random_numbers<T>(out * in, 1), x = random_numbers<T>(rows * in, 2),
             dy = random_numbers<T>(rows * out, 3);
  const auto words = packed<T>(out, in, w);
  const int before = omp_get_max_threads();
  std::vector<float> one_y, one_dx;
  for (const int threads : {1, 2, 3, 8}) {
    omp_set_num_threads(threads);
    std::vector<float> y(rows * out), dx(rows * in);
    kernel::multiply_packed<T>(Cpu{}, rows, out, in, x.data(), words.data(), false, y.data());
    kernel::multiply_packed_transposed<T>(Cpu{}, rows, out, in, dy.data(), words.data(), false, dx.data());
    if (threads == 1) one_y = y, one_dx = dx;
    CHECK(y == one_y);
    CHECK(dx == one_dx);
  }
  omp_set_num_threads(before);
}
#endif

TEMPLATE_TEST_CASE("what is packed is read back, rounded", "[packed]", float, double, bf16) {
  using T = TestType;
  const std::size_t out = 45, in = 71;
  Numbers<T> w(out * in), row(in);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<Accumulator<T>>(random_normal({1, 2}, i));
  const auto words = packed<T>(out, in, w);
  for (std::size_t o = 0; o < out; ++o) {
    kernel::unpack_row<T>(in, o, words.data(), row.data());
    for (std::size_t k = 0; k < in; ++k) CHECK(row[k] == static_cast<Accumulator<T>>(static_cast<T>(w[o * in + k])));
  }
}

TEST_CASE("activations are rounded to bf16 as one by one", "[packed]") {
  std::vector<float> x;
  for (std::uint32_t high : {0u, 0x3f80u, 0x7f7fu, 0x7f80u, 0x7fc0u, 0x0001u, 0xff80u, 0xbf81u}) {
    for (std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      x.push_back(std::bit_cast<float>(high << 16 | low));
  }
  std::vector<bf16> y(x.size());
  kernel::detail::store_row(x.size(), x.data(), y.data());
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(y[i].bits == bf16(x[i]).bits);
}

#if defined(__x86_64__)
TEST_CASE("every instruction set of this processor gives the same sums", "[packed]") {
  const std::size_t rows = 13, cols = 32, depth = 300;
  std::vector<kernel::Pair> a(24 * kernel::left_stride<kernel::Pair>), b(depth * cols);
  std::vector<float> af(24 * kernel::left_stride<float>), bf(depth * cols);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = {bf16(random_normal({1, 1}, i)), bf16(random_normal({1, 2}, i))};
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = {bf16(random_normal({1, 3}, i)), bf16(random_normal({1, 4}, i))};
  for (std::size_t i = 0; i < af.size(); ++i) af[i] = random_normal({1, 5}, i);
  for (std::size_t i = 0; i < bf.size(); ++i) bf[i] = random_normal({1, 6}, i);
  const auto compare = [&](auto product, auto other, const auto& left, const auto& right) {
    std::vector<float> y(rows * cols), z(rows * cols);
    product(rows, cols, depth, left.data(), {right.data(), 0}, y.data(), cols, false, {});
    other(rows, cols, depth, left.data(), {right.data(), 0}, z.data(), cols, false, {});
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::abs(y[i] - z[i]) < 1e-3f);
  };
  using namespace kernel;
  compare(fastest_product<Pair>(), &native::multiply_panels<native::WidenedPairs>, a, b);
  compare(fastest_product<float>(), &native::multiply_panels<native::Plain<float>>, af, bf);
}
#endif

}  // namespace calm
