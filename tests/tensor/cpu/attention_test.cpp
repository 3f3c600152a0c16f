// What rounding costs blockwise attention, beside the same formula in double; that no bit depends on the threads.
#include "calm/tensor/cpu/attention.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <catch2/catch.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "calm/tensor/cpu/attention_backward.hpp"
#include "calm/tensor/philox.hpp"

using namespace calm;

namespace {

constexpr std::size_t out_at = 0, dq_at = 1, dk_at = 2, dv_at = 3;

/// What one attention and its gradients give: out, dq, dk, dv, lse.
using Results = std::vector<std::vector<double>>;

/// Two causal texts, the second of which begins with padding, behind a window.
template <class T>
struct Texts {
  using A = Accumulator<T>;
  kernel::AttentionExtents e;
  std::vector<T> q, k, v, d_out;
  std::vector<Index> begin, end;
  kernel::AttentionRule<A> rule{};

  Texts(std::size_t batch, std::size_t time, std::size_t heads, std::size_t kv_heads, std::size_t width)
      : e{batch, time, time, heads, kv_heads, width} {
    const auto numbers = [](std::size_t n, std::uint64_t seed) {
      std::vector<T> x(n);
      for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<T>(random_normal({seed, 1}, i));
      return x;
    };
    q = numbers(batch * time * heads * width, 1), d_out = numbers(q.size(), 4);
    k = numbers(batch * time * kv_heads * width, 2), v = numbers(k.size(), 3);
    for (std::size_t row = 0; row < batch * time; ++row) {
      const std::size_t i = row % time, first = row < time ? 0 : time / 3;
      begin.push_back(static_cast<Index>(std::max(first, i - std::min(i, row < time ? time : time / 2))));
      end.push_back(i < first ? 0 : static_cast<Index>(i + 1));
    }
    rule.begin = begin.data(), rule.end = end.data();
    rule.scale = A(1 / std::sqrt(static_cast<double>(width)));
  }

  template <class Rule>
  Results compute(const Rule& how, T there = T(0), bool adds = true) const {
    std::vector<T> out(q.size()), dq(q.size(), there), dk(k.size(), there), dv(k.size(), there);
    std::vector<A> lse(e.batch * e.heads * e.queries);
    const T* const no_sink = nullptr;
    kernel::attention(Cpu{}, e, how, q.data(), k.data(), v.data(), no_sink, out.data(), lse.data());
    kernel::attention_backward(Cpu{}, e, how, q.data(), k.data(), v.data(), out.data(), lse.data(), d_out.data(),
                               dq.data(), dk.data(), dv.data(), static_cast<const T*>(nullptr), {adds, adds, adds});
    Results all;
    const auto add = [&](const auto& x) { all.emplace_back(x.begin(), x.end()); };
    add(out), add(dq), add(dk), add(dv), add(lse);
    return all;
  }

  /// The formula as it is written in a book, in double, operands of products and results passed through `round`.
  template <class Round>
  Results by_the_book(const Round& round, const Round& result) const {
    Results all{std::vector<double>(q.size()), std::vector<double>(q.size()), std::vector<double>(k.size()),
                std::vector<double>(k.size())};
    const double scale = static_cast<double>(rule.scale);
    const std::size_t w = e.width;
    const auto dot = [&](const T* x, const T* y) {
      double sum = 0;
      for (std::size_t c = 0; c < w; ++c) sum += round(double(x[c])) * round(double(y[c]));
      return sum;
    };
    for (std::size_t row = 0; row < e.batch * e.queries * e.heads; ++row) {
      const std::size_t i = row / e.heads, h = row % e.heads, first = i / e.queries * e.keys;
      const auto b = static_cast<std::size_t>(begin[i]), n = static_cast<std::size_t>(std::max(end[i], begin[i])) - b;
      const auto at = [&](std::size_t j) { return ((first + b + j) * e.kv_heads + h * e.kv_heads / e.heads) * w; };
      std::vector<double> p(n);
      double top = -1e300, total = 0, delta = 0;
      for (std::size_t j = 0; j < n; ++j) top = std::max(top, p[j] = scale * dot(&q[row * w], &k[at(j)]));
      for (double& x : p) total += x = std::exp(x - top);
      double* const out = &all[out_at][row * w];
      for (std::size_t j = 0; j < n; ++j) {
        p[j] /= total;
        for (std::size_t c = 0; c < w; ++c) out[c] += round(p[j]) * round(double(v[at(j) + c]));
      }
      for (std::size_t c = 0; c < w; ++c) out[c] = result(out[c]), delta += out[c] * double(d_out[row * w + c]);
      for (std::size_t j = 0; j < n; ++j) {
        const double ds = round(p[j] * (dot(&d_out[row * w], &v[at(j)]) - delta) * scale);
        for (std::size_t c = 0; c < w; ++c) {
          all[dq_at][row * w + c] += ds * round(double(k[at(j) + c]));
          all[dk_at][at(j) + c] += ds * round(double(q[row * w + c]));
          all[dv_at][at(j) + c] += round(p[j]) * round(double(d_out[row * w + c]));
        }
      }
    }
    for (auto& x : all) std::transform(x.begin(), x.end(), x.begin(), result);
    return all;
  }
};

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double off = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) off += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
  return std::sqrt(off / size);
}

using Round = double (*)(double);
double exact(double x) { return x; }
double to_bf16(double x) { return static_cast<double>(static_cast<float>(bf16(static_cast<float>(x)))); }

/// Whether `found` is at most twice as far from the truth as the formula is that rounds, and no nearer than by a fifth.
template <class T>
void check_cost(const Texts<T>& texts, const Results& found, Round result) {
  const Results truth = texts.template by_the_book<Round>(exact, exact);
  const Results rounded = texts.template by_the_book<Round>(to_bf16, result);
  for (const std::size_t i : {out_at, dq_at, dk_at, dv_at}) {
    const double off = difference(found[i], truth[i]), allowed = 2 * difference(rounded[i], truth[i]);
    INFO("result " << i << " of width " << texts.e.width);
    CHECK(off <= allowed);
    CHECK(off >= allowed / 10);
  }
}

}  // namespace

TEST_CASE("attention and its gradients are exact where nothing is rounded") {
  const Texts<float> texts(2, 150, 4, 2, 24);
  const Results truth = texts.by_the_book<Round>(exact, exact), found = texts.compute(texts.rule);
  for (const std::size_t i : {out_at, dq_at, dk_at, dv_at}) CHECK(difference(found[i], truth[i]) < 1e-6);
}

TEST_CASE("rounded operands cost attention and its gradients no more than they cost the formula") {
  for (const std::size_t width : {24u, 64u, 33u}) {
    const Texts<float> texts(2, 150, 4, 2, width);
    check_cost(texts, texts.compute(kernel::RoundedRule<float, bf16>{texts.rule}), exact);
  }
}

TEST_CASE("attention of bf16 costs no more than rounding the formula's operands and results does") {
  for (const std::size_t width : {24u, 64u, 33u}) {
    const Texts<bf16> texts(2, 150, 4, 2, width);
    check_cost(texts, texts.compute(texts.rule), to_bf16);
  }
}

TEST_CASE("keys and values kept in bf16 are read as what they are") {
  Texts<float> texts(2, 100, 4, 2, 24);
  std::vector<bf16> k, v;
  for (float& x : texts.k) k.emplace_back(x), x = k.back();
  for (float& x : texts.v) v.emplace_back(x), x = v.back();
  std::vector<float> out(texts.q.size()), kept(texts.q.size());
  const float* const no_sink = nullptr;
  const auto check = [&](const auto& rule) {
    const auto& e = texts.e;
    float* const no_lse = nullptr;
    kernel::attention(Cpu{}, e, rule, texts.q.data(), texts.k.data(), texts.v.data(), no_sink, out.data(), no_lse);
    kernel::attention(Cpu{}, e, rule, texts.q.data(), k.data(), v.data(), no_sink, kept.data(), no_lse);
    CHECK((out == kept));
  };
  check(texts.rule);
  check(kernel::RoundedRule<float, bf16>{texts.rule});
}

TEST_CASE("attention's gradients are written, or added to what is there") {
  const std::size_t heads = GENERATE(1u, 8u);  // in two passes and in one
  const Texts<float> texts(2, 200, heads, heads, 24);
  const Results alone = texts.compute(texts.rule);
  CHECK((texts.compute(texts.rule, NAN, false) == alone));
  const Results sums = texts.compute(texts.rule, 1000.0f);
  for (const std::size_t at : {dq_at, dk_at, dv_at}) {
    for (std::size_t i = 0; i < sums[at].size(); ++i)
      REQUIRE(std::abs(sums[at][i] - 1000 - alone[at][i]) < 1e-3);
  }
}

#ifdef _OPENMP
TEST_CASE("attention has the same bits on any number of threads, with one head or many") {
  const int before = omp_get_max_threads();
  for (const auto& [batch, heads, kv_heads] :
       {std::array{1u, 1u, 1u}, std::array{1u, 3u, 1u}, std::array{2u, 4u, 2u}}) {
    const Texts<float> texts(batch, 600, heads, kv_heads, 24);
    const auto check = [&](const auto& rule) {
      omp_set_num_threads(1);
      const Results alone = texts.compute(rule);
      for (const int n : {2, 3, 5}) {
        omp_set_num_threads(n);
        CHECK((texts.compute(rule) == alone));
      }
    };
    check(texts.rule);
    check(kernel::RoundedRule<float, bf16>{texts.rule});
  }
  omp_set_num_threads(before);
}
#endif
