#include "calm/tensor/cpu/instructions.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/cpu/attention_backward.hpp"
#include "calm/tensor/cpu/attention_one.hpp"
#include "calm/tensor/cpu/cast.hpp"
#include "calm/tensor/cpu/cross_entropy.hpp"
#include "calm/tensor/philox.hpp"

using namespace calm;
using kernel::Instructions;

namespace {

using Numbers = std::vector<float>;

Numbers random_numbers(std::size_t n, std::uint64_t seed) {
  Numbers x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = 2 * static_cast<float>(random_normal({seed, 5}, i));
  return x;
}

/// The results of `compute` by each set of instructions up to the processor's, narrowest first.
template <class F>
std::vector<Numbers> by_each_set(const F& compute) {
  const Instructions widest = kernel::instructions();
  std::vector<Numbers> results;
  for (const Instructions set : {Instructions::native, Instructions::avx2, Instructions::avx512, Instructions::bf16}) {
    if (set > widest) break;
    kernel::instructions() = set;
    results.push_back(compute());
  }
  kernel::instructions() = widest;
  return results;
}

/// Requires that all sets give the same but for a part of the largest number.
template <class F>
void check_sets_agree(double part, const F& compute) {
  const std::vector<Numbers> results = by_each_set(compute);
  double size = 0;
  for (const float y : results[0]) size = std::max(size, std::abs(double(y)));
  CHECK(size > 0.01);
  for (const Numbers& result : results) {
    double worst = 0;
    for (std::size_t i = 0; i < result.size(); ++i)
      worst = std::max(worst, std::abs(double(result[i] - results[0][i])));
    CHECK(worst <= part * size);
  }
}

/// Outputs and gradients of one head's group of 70 queries and keys, in words of R.
template <class Rule>
Numbers attention_of(const Rule& rule, std::size_t width) {
  const kernel::AttentionExtents e{.batch = 1, .queries = 70, .keys = 70, .heads = 2, .kv_heads = 1, .width = width};
  const std::size_t n = e.queries * e.heads * width, m = e.keys * width;
  const Numbers q = random_numbers(n, 1), k = random_numbers(m, 2), v = random_numbers(m, 3), dy = random_numbers(n, 4);
  Numbers y(n), lse(e.heads * e.queries), all(n + 2 * m);
  kernel::attention<float>(Cpu{}, e, rule, q.data(), k.data(), v.data(), nullptr, y.data(), lse.data());
  kernel::attention_backward<float>(Cpu{}, e, rule, q.data(), k.data(), v.data(), y.data(), lse.data(), dy.data(),
                                    all.data(), all.data() + n, all.data() + n + m);
  all.insert(all.end(), y.begin(), y.end());
  return all;
}

}  // namespace

TEST_CASE("gates are the same by all instructions, whatever is left over", "[instructions]") {
  for (const auto kind : {kernel::Activation::silu, kernel::Activation::gelu, kernel::Activation::gelu_tanh}) {
    for (const std::size_t n : {1u, 15u, 64u, 83u}) {
      const Numbers x = random_numbers(n, 1), up = random_numbers(n, 2), dy = random_numbers(n, 3);
      check_sets_agree(1e-6, [&] {
        Numbers y(3 * n, 1);
        kernel::gate(Cpu{}, kind, n, x.data(), up.data(), y.data());
        kernel::gate_backward(Cpu{}, kind, n, x.data(), up.data(), dy.data(), y.data() + n, true, y.data() + 2 * n,
                              true);
        return y;
      });
    }
  }
}

TEST_CASE("a gate of one operand by itself adds both gradients in its place", "[instructions]") {
  const std::size_t n = 21;
  const Numbers x = random_numbers(n, 1), dy = random_numbers(n, 3);
  for (const Numbers& dx : by_each_set([&] {
         Numbers sum(n, 1);
         kernel::gate_backward(Cpu{}, kernel::Activation::silu, n, x.data(), x.data(), dy.data(), sum.data(), true,
                               sum.data(), true);
         return sum;
       })) {
    for (std::size_t i = 0; i < n; ++i) {  // x² · s
      const double s = 1 / (1 + std::exp(-double(x[i]))), slope = 2 * x[i] * s + x[i] * x[i] * s * (1 - s);
      CHECK(dx[i] == Approx(1 + slope * dy[i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("rounding to bf16 has the same bits by all instructions", "[instructions]") {
  Numbers x = random_numbers(83, 1);
  x[3] = NAN, x[4] = INFINITY, x[82] = -0.0f;
  const auto results = by_each_set([&] {
    std::vector<bf16> y(x.size());
    kernel::detail::store_row(x.size(), x.data(), y.data());
    return Numbers(y.begin(), y.end());
  });
  for (const Numbers& y : results) {
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(bf16(y[i]).bits == bf16(x[i]).bits);
  }
}

TEST_CASE("cross-entropy is the same by all instructions", "[instructions]") {
  const std::size_t rows = 3, cols = 2110;
  const std::vector<Index> target{0, 2109, 700};
  check_sets_agree(1e-6, [&] {
    Numbers logits = random_numbers(rows * cols, 7);
    double loss[rows];
    const float* const slope = nullptr;
    kernel::cross_entropy<float>(Cpu{}, rows, cols, target.data(), true, 1.0f, slope, logits.data(), loss);
    logits.insert(logits.end(), loss, loss + rows);
    return logits;
  });
}

TEST_CASE("attention and its gradients are the same by all instructions", "[instructions]") {
  std::vector<Index> end(70);
  for (std::size_t i = 0; i < end.size(); ++i) end[i] = static_cast<Index>(i + 1);
  const float slope[] = {0.1f, 0.2f};
  for (const std::size_t width : {5u, 16u, 64u}) {
    const kernel::AttentionRule<float> rule{nullptr, end.data(), nullptr, slope, 0.1f, 0};
    check_sets_agree(2e-6, [&] { return attention_of(rule, width); });
    const kernel::RoundedRule<float, bf16> rounded{rule};
    check_sets_agree(0.02, [&] { return attention_of(rounded, width); });
  }
}

TEST_CASE("attention of one query is the same by all instructions", "[instructions]") {
  const std::vector<Index> end{90};
  for (const std::size_t width : {5u, 16u, 70u}) {
    const kernel::AttentionExtents e{.batch = 1, .queries = 1, .keys = 90, .heads = 3, .kv_heads = 1, .width = width};
    const kernel::AttentionRule<float> rule{nullptr, end.data(), nullptr, nullptr, 0.1f, 0};
    const Numbers q = random_numbers(3 * width, 1), k = random_numbers(90 * width, 2),
                  v = random_numbers(90 * width, 3);
    check_sets_agree(2e-6, [&] {
      Numbers y(3 * width);
      kernel::attention_of_one<float, float>(Cpu{}, e, rule, q.data(), k.data(), v.data(), nullptr, y.data(), nullptr);
      return y;
    });
  }
}
