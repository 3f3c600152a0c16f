// A token of each row: the GPU draws what the host's sampler draws for the same logits and the same random number.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/generate/log_probability.hpp"
#include "calm/generate/sample.hpp"
#include "calm/tensor/cuda/streams.hpp"
#include "calm/tensor/storage.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

template <class T>
using Rows = Tensor<T, Cpu, Batch, Time>;

/// Draws from rows of logits, again and again, at one place.
template <class T>
class Drawer {
 public:
  explicit Drawer(const Rows<T>& logits)
      : rows_(logits.extent(0)), cols_(logits.extent(1)), logits_(move_to<Cuda>(logits)),
        best_(Tensor<Index, Cuda, Batch>::zeros(Shape<Batch>(rows_))),
        draws_(rows_ * sizeof(kernel::Draw), Place::shared), drawn_(rows_ * sizeof(kernel::Drawn), Place::shared),
        best_data_(best_.mutable_data()) {}

  kernel::Draw* draws() { return static_cast<kernel::Draw*>(draws_.data()); }
  const kernel::Drawn* drawn() { return static_cast<const kernel::Drawn*>(drawn_.data()); }
  void launch() {
    kernel::argmax_rows(Cuda{}, rows_, cols_, logits_.data(), best_data_);
    kernel::draw_rows(Cuda{}, rows_, cols_, logits_.data(), best_data_, draws(),
                      static_cast<kernel::Drawn*>(drawn_.data()));
  }

 private:
  std::size_t rows_, cols_;
  Tensor<T, Cuda, Batch, Time> logits_;
  Tensor<Index, Cuda, Batch> best_;
  Storage<Cuda> draws_, drawn_;
  Index* best_data_;
};

GenerateOptions random_options(RandomKey key, std::size_t vocab) {
  const auto uniform = [&](std::uint64_t i) { return static_cast<double>(random_uniform(key, i)); };
  return {.temperature = uniform(0) < 0.1 ? 0 : 0.2 + 2 * uniform(1),
          .top_k = uniform(2) < 0.5 ? 0 : std::size_t{1} + random_below(key, 3, static_cast<std::uint32_t>(vocab + 4)),
          .top_p = uniform(4) < 0.4 ? 1 : 0.01 + 0.98 * uniform(5),
          .min_p = uniform(6) < 0.6 ? 0 : 0.3 * uniform(7)};
}
kernel::Draw draw_of(const GenerateOptions& o, RandomKey key, std::uint64_t index) {
  return {o.temperature, o.top_k, o.top_p, o.min_p, static_cast<double>(random_uniform(key, index))};
}

/// Random rows and options; every other row has few distinct logits, every fourth some that are impossible.
template <class T>
void check_draws(std::size_t rows, std::size_t cols) {
  auto logits = random_values<Rows<T>>(Shape<Batch, Time>(rows, cols), cols, 3);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      T& x = logits.mutable_data()[r * cols + c];
      if (r % 2) x = static_cast<T>(std::round(static_cast<float>(x)));
      if (r % 4 == 2 && c % 3) x = static_cast<T>(-std::numeric_limits<float>::infinity());
    }
  }
  Drawer<T> drawer(logits);
  const RandomKey key{seed(), 5};
  std::vector<GenerateOptions> options(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    options[r] = random_options({seed(), 100 + r + cols}, cols);
    drawer.draws()[r] = draw_of(options[r], key, r);
  }
  drawer.launch();
  cuda::synchronize();
  for (std::size_t r = 0; r < rows; ++r) {
    const T* const row = logits.data() + r * cols;
    const GenerateOptions& o = options[r];
    INFO("seed " << seed() << ", row " << r << " of " << cols << ": temperature " << o.temperature << ", top-k "
                 << o.top_k << ", top-p " << o.top_p << ", min-p " << o.min_p);
    const Index wanted = choose(row, cols, {}, o, key, r);
    REQUIRE(drawer.drawn()[r].token == wanted);
    const double expected = static_cast<double>(row[wanted]) - log_sum_exp(row, cols);
    REQUIRE(drawer.drawn()[r].log_probability == Approx(expected).margin(1e-10));
  }
}

}  // namespace

TEST_CASE("cuda draw: the token is the host's, ties and impossible ones included") {
  for (const std::size_t cols : {1u, 2u, 7u, 64u, 131u}) {
    check_draws<double>(60, cols);
    check_draws<float>(60, cols);
    check_draws<bf16>(60, cols);
  }
}
TEST_CASE("cuda draw: rows of several parts") {
  check_draws<float>(12, 9001);
  check_draws<bf16>(12, 8192);
}

TEST_CASE("cuda draw: either end of the random numbers gives a token that may come") {
  const std::size_t cols = 5000;
  auto logits = random_values<Rows<float>>(Shape<Batch, Time>(2, cols), 8, 2);
  std::copy_n(logits.data(), cols, logits.mutable_data() + cols);
  const GenerateOptions options{.temperature = 0.9, .top_k = 40, .top_p = 0.8, .min_p = 0.01};
  std::vector<double> scores(logits.data(), logits.data() + cols);
  policies_of(options)(scores, {});
  std::vector<Index> left;
  for (std::size_t i = 0; i < cols; ++i) {
    if (scores[i] != impossible) left.push_back(static_cast<Index>(i));
  }
  Drawer<float> drawer(logits);
  drawer.draws()[0] = drawer.draws()[1] = {0.9, 40, 0.8, 0.01, 0};
  drawer.draws()[1].uniform = 1;  // more than any: as if rounding ate the rest
  drawer.launch();
  cuda::synchronize();
  INFO("seed " << seed());
  REQUIRE(left.size() > 1);
  REQUIRE(drawer.drawn()[0].token == left.front());
  REQUIRE(drawer.drawn()[1].token == left.back());
}

TEST_CASE("cuda draw: both zeros are one number") {
  const auto logits = Rows<float>::from(Shape<Batch, Time>(1, 4), {-0.0f, 0.0f, -0.0f, -1.0f});
  Drawer<float> drawer(logits);
  for (const double u : {0.0, 0.4, 0.9}) {
    drawer.draws()[0] = {1, 1, 1, 0, u};  // top-k keeps all that are as likely as the last
    drawer.launch();
    cuda::synchronize();
    REQUIRE(drawer.drawn()[0].token == static_cast<Index>(u * 3));
  }
}

TEST_CASE("cuda draw: rows that no token can be drawn from are for the host") {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const float nan = std::nanf("");
  const auto logits = Rows<float>::from(Shape<Batch, Time>(5, 3), {0, nan, 1, 0, -nan, 1, 0, inf, 1, -inf, -inf, -inf,
                                                                   -inf, 2, -inf});
  for (const double temperature : {0.0, 1.0}) {
    Drawer<float> drawer(logits);
    std::fill_n(drawer.draws(), 5, kernel::Draw{temperature, 2, 0.9, 0.1, 0.5});
    drawer.launch();
    cuda::synchronize();
    for (std::size_t r = 0; r < 4; ++r) REQUIRE(drawer.drawn()[r].token == -1);
    REQUIRE(drawer.drawn()[4].token == 1);
  }
}

TEST_CASE("cuda draw: what is recorded draws anew from what stands there") {
  const std::size_t cols = 300;
  const auto logits = random_values<Rows<float>>(Shape<Batch, Time>(1, cols), 9);
  Drawer<float> drawer(logits);
  const GenerateOptions options{.temperature = 1.3, .top_k = 50, .top_p = 0.9};
  const RandomKey key{seed(), 11};
  drawer.draws()[0] = draw_of(options, key, 0);
  const cuda::Recorded recorded([&] { drawer.launch(); });
  std::vector<Index> drawn, expected;
  for (std::uint64_t i = 0; i < 20; ++i) {
    drawer.draws()[0] = draw_of(options, key, i);
    recorded.launch();
    cuda::synchronize();
    drawn.push_back(drawer.drawn()[0].token);
    expected.push_back(choose(logits.data(), cols, {}, options, key, i));
  }
  INFO("seed " << seed());
  REQUIRE(drawn == expected);
  REQUIRE(std::count(drawn.begin(), drawn.end(), drawn[0]) < 20);
}
