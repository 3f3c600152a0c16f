// Attention on the tensor cores against sums in double: it may err at most twice as much as these do when what the
// products multiply is rounded to bf16 (the criterion of FlashAttention's own tests).

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/ops/attention.hpp"
#include "cuda/attention_axes.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

enum class Mask { full, causal, window, packed, random, holes };

/// In `random` and `holes` anything, also no keys at all; the last text of a batch sees 9 keys fewer than there are.
template <class Device>
KeyIntervals<Device> mask_of(Mask kind, const Sizes& n) {
  const Shape<Batch, Time> shape(n.batch, n.queries);
  using Bounds = typename KeyIntervals<Device>::Bounds;
  KeyIntervals<Device> mask{Bounds(shape), {}, {}, {}, {}};
  if (kind != Mask::full && kind != Mask::causal) mask.begin = Bounds(shape);
  if (kind == Mask::holes) mask.hole_begin = Bounds(shape), mask.hole_end = Bounds(shape), mask.center = Bounds(shape);
  const auto keys = static_cast<std::uint32_t>(n.keys);
  for (std::size_t at = 0; at < shape.size(); ++at) {
    const auto i = static_cast<Index>(at % n.queries), all = static_cast<Index>(keys);
    const auto draw = [&](std::uint64_t k, std::uint32_t below) {
      return static_cast<Index>(random_below({seed(), 50 + k}, at, below));
    };
    const bool causal = kind == Mask::causal || kind == Mask::window || kind == Mask::packed;
    Index end = causal ? i + 1 + std::max<Index>(all - static_cast<Index>(n.queries), 0) : all;
    if (kind == Mask::random || kind == Mask::holes) end = draw(1, keys + 3);
    if (at / n.queries + 1 == n.batch) end = std::min(end, all - 9);
    mask.end.mutable_data()[at] = end;
    Index begin = kind == Mask::window ? std::max<Index>(end - 40, 0) : 0;
    if (kind == Mask::packed) begin = i / 30 * 30;
    if (kind == Mask::random || kind == Mask::holes) begin = draw(0, keys / 2 + 1);
    if (mask.begin.data() != nullptr) mask.begin.mutable_data()[at] = begin;
    if (kind == Mask::holes) {
      mask.center.mutable_data()[at] = draw(2, keys);
      mask.hole_begin.mutable_data()[at] = draw(3, keys);
      mask.hole_end.mutable_data()[at] = mask.hole_begin[at] + draw(4, keys);
    }
  }
  return mask;
}

/// Keys that query `at` sees, and how far they are.
struct Sight {
  std::vector<std::size_t> keys;
  std::vector<double> away;
};
Sight sight_of(const KeyIntervals<Cpu>& mask, std::size_t at, std::size_t keys, bool has_begin, bool has_hole) {
  const auto from = has_begin ? static_cast<std::size_t>(mask.begin[at]) : 0;
  const std::size_t to = std::min(static_cast<std::size_t>(std::max<Index>(mask.end[at], 0)), keys);
  std::size_t first = 0, last = 0;
  if (has_hole) {
    first = std::max(static_cast<std::size_t>(mask.hole_begin[at]), from);
    last = std::max(std::min(static_cast<std::size_t>(mask.hole_end[at]), to), first);
  }
  Sight sight;
  const double left_out = static_cast<double>(last - first);
  const double center = has_hole ? static_cast<double>(mask.center[at]) : static_cast<double>(mask.end[at]) - 1;
  for (std::size_t j = from; j < to; ++j) {
    if (j >= first && j < last) continue;
    sight.keys.push_back(j);
    sight.away.push_back(std::abs(center - (static_cast<double>(j) - (j >= last ? left_out : 0))));
  }
  return sight;
}

template <std::size_t H, std::size_t K, std::size_t W>
struct Plain {
  using Numbers = std::vector<double>;
  Sizes n;
  Mask kind;
  AttentionOptions<H> options;
  Numbers q, k, v, sink, d_out;
  bool rounded;
  Numbers out, dq, dk, dv, d_sink, sink_size;

  double round(double x) const { return rounded ? static_cast<double>(bf16(static_cast<float>(x))) : x; }

  void run() {
    const auto mask = mask_of<Cpu>(kind, n);
    out.assign(q.size(), 0), dq = out, dk.assign(k.size(), 0), dv = dk;
    d_sink.assign(H, 0), sink_size = d_sink;
    for (std::size_t at = 0; at < n.batch * n.queries; ++at) {
      const Sight sight = sight_of(mask, at, n.keys, kind != Mask::full && kind != Mask::causal, kind == Mask::holes);
      for (std::size_t h = 0; h < H; ++h) query(at, h, sight);
    }
    for (Numbers* x : {&dq, &dk, &dv}) {
      for (double& number : *x) number = round(number);
    }
  }

 private:
  static double dot(const double* a, const double* b) {
    double sum = 0;
    for (std::size_t c = 0; c < W; ++c) sum += a[c] * b[c];
    return sum;
  }
  void query(std::size_t at, std::size_t h, const Sight& sight) {
    const double scale = 1 / std::sqrt(static_cast<double>(W)), cap = options.softcap;
    const std::size_t row = (at * H + h) * W, m = sight.keys.size();
    const auto key = [&](std::size_t j) { return ((at / n.queries * n.keys + sight.keys[j]) * K + h / (H / K)) * W; };
    Numbers p(m), steep(m, 1);
    double top = sink.empty() ? -std::numeric_limits<double>::infinity() : sink[h], sum = 0;
    for (std::size_t j = 0; j < m; ++j) {
      p[j] = scale * dot(&q[row], &k[key(j)]);
      if (cap > 0) {
        const double t = std::tanh(p[j] / cap);
        p[j] = cap * t;
        steep[j] = 1 - t * t;
      }
      p[j] -= options.recency[h] * sight.away[j];
      top = std::max(top, p[j]);
    }
    for (double& x : p) sum += x = std::exp(x - top);
    const double resting = sink.empty() ? 0 : std::exp(sink[h] - top);
    sum += resting;
    if (m == 0) return;
    for (std::size_t j = 0; j < m; ++j) {
      for (std::size_t c = 0; c < W; ++c) out[row + c] += round(p[j]) * v[key(j) + c] / sum;
    }
    double size = 0;
    for (std::size_t c = 0; c < W; ++c) {
      out[row + c] = round(out[row + c]);
      size += std::abs(out[row + c] * d_out[row + c]);
    }
    const double delta = dot(&out[row], &d_out[row]);
    d_sink[h] -= resting / sum * delta;
    sink_size[h] += resting / sum * size;
    for (std::size_t j = 0; j < m; ++j) {
      const double weight = p[j] / sum, ds = round(weight * (dot(&d_out[row], &v[key(j)]) - delta) * steep[j]);
      for (std::size_t c = 0; c < W; ++c) {
        dv[key(j) + c] += round(weight) * d_out[row + c];
        dq[row + c] += ds * scale * k[key(j) + c];
        dk[key(j) + c] += ds * scale * q[row + c];
      }
    }
  }
};

template <class X>
std::vector<double> numbers_of(const X& x) {
  return std::vector<double>(x.data(), x.data() + x.size());
}

void require_twice(const std::string& what, const std::vector<bf16>& gpu, const std::vector<double>& exact,
                   const std::vector<double>& rounded, bool few) {
  REQUIRE(gpu.size() == exact.size());
  double ours = 0, plain = 0, largest = 0;
  std::size_t worst = 0;
  for (std::size_t i = 0; i < gpu.size(); ++i) {
    const double apart = std::abs(static_cast<double>(gpu[i]) - exact[i]);
    if (!(apart <= ours) && !std::isnan(ours)) ours = apart, worst = i;  // what is no number stays
    plain = std::max(plain, std::abs(rounded[i] - exact[i]));
    largest = std::max(largest, std::abs(exact[i]));
  }
  INFO(what << ", seed " << seed() << ": element " << worst << " of " << gpu.size());
  CAPTURE(static_cast<double>(gpu[worst]), exact[worst]);
  REQUIRE(ours <= std::max(2 * plain, few ? largest / 128 : 0.0));  // of few queries, which errs more is chance
}

/// Keys that nobody sees are no numbers, and neither are their values.
template <class KV>
void hide(KV& x, Mask kind, const Sizes& n) {
  const auto mask = mask_of<Cpu>(kind, n);
  std::vector<bool> seen(n.batch * n.keys);
  for (std::size_t at = 0; at < n.batch * n.queries; ++at) {
    for (const std::size_t j :
         sight_of(mask, at, n.keys, kind != Mask::full && kind != Mask::causal, kind == Mask::holes).keys) {
      seen[at / n.queries * n.keys + j] = true;
    }
  }
  const std::size_t width = x.size() / seen.size();
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!seen[i / width]) x.mutable_data()[i] = bf16(std::numeric_limits<float>::quiet_NaN());
  }
}

template <std::size_t H, std::size_t K, std::size_t W>
void check(const Sizes& n, Mask kind, double softcap, double recency, bool with_sink) {
  using Q = Tensor<bf16, Cpu, Batch, Time, Heads<H>, Width<W>>;
  using KV = Tensor<bf16, Cpu, Batch, Source, KeyHeads<K>, Width<W>>;
  const auto q = random_values<Q>(typename Q::shape_type(n.batch, n.queries), 1);
  auto k = random_values<KV>(typename KV::shape_type(n.batch, n.keys), 2);
  auto v = random_values<KV>(typename KV::shape_type(n.batch, n.keys), 3);
  const auto sink = random_values<Tensor<bf16, Cpu, Heads<H>>>({}, 4);
  const auto d_out = random_values<Q>(q.shape(), 99);  // as results_on draws them
  hide(k, kind, n), hide(v, kind, n);
  AttentionOptions<H> options{.softcap = softcap};
  for (std::size_t h = 0; h < H; ++h) options.recency[h] = recency / static_cast<double>(h + 1);
  Plain<H, K, W> exact{n, kind, options, numbers_of(q), numbers_of(k), numbers_of(v), {}, numbers_of(d_out), false,
                       {}, {}, {}, {}, {}, {}};
  if (with_sink) exact.sink = numbers_of(sink);
  auto rounded = exact;
  rounded.rounded = true;
  exact.run(), rounded.run();
  const auto run = [&] {
    if (with_sink) {
      return calm::test::detail::results_on<Cuda>([&](auto device, auto a, auto b, auto c, auto s) {
        return attention(a, b, c, mask_of<decltype(device)>(kind, n), options, s);
      }, q, k, v, sink);
    }
    return calm::test::detail::results_on<Cuda>([&](auto device, auto a, auto b, auto c) {
      return attention(a, b, c, mask_of<decltype(device)>(kind, n), options);
    }, q, k, v);
  };
  CAPTURE(n.batch, n.queries, n.keys, H, K, W, static_cast<int>(kind), softcap, recency, with_sink);
  const bool few = n.queries < 8;
  const auto gpu = run();
  require_twice("out", gpu.value, exact.out, rounded.out, few);
  require_twice("dq", gpu.gradients[0], exact.dq, rounded.dq, few);
  require_twice("dk", gpu.gradients[1], exact.dk, rounded.dk, few);
  require_twice("dv", gpu.gradients[2], exact.dv, rounded.dv, few);
  for (std::size_t h = 0; with_sink && h < H; ++h) {  // a sum of rounded results, which may be much smaller than these
    REQUIRE(std::abs(static_cast<double>(gpu.gradients[3][h]) - exact.d_sink[h]) <= exact.sink_size[h] / 128);
  }
  const auto again = run();
  const auto bits = [](const std::vector<bf16>& x) {
    std::vector<std::uint16_t> b;
    for (const bf16 y : x) b.push_back(y.bits);
    return b;
  };
  REQUIRE(bits(gpu.value) == bits(again.value));
  for (std::size_t i = 0; i < gpu.gradients.size(); ++i) REQUIRE(bits(gpu.gradients[i]) == bits(again.gradients[i]));
}

}  // namespace

TEST_CASE("cuda flash attention: every mask, with grouped heads") {
  for (const Mask kind : {Mask::full, Mask::causal, Mask::window, Mask::packed, Mask::random, Mask::holes}) {
    check<4, 2, 64>({2, 70, 100}, kind, 0, 0, false);
  }
}

TEST_CASE("cuda flash attention: sink, soft cap, recency") {
  for (const Mask kind : {Mask::causal, Mask::holes}) {
    check<4, 2, 64>({1, 50, 70}, kind, 0, 0, true);
    check<4, 2, 64>({1, 50, 70}, kind, 3, 0.05, true);
  }
  check<4, 2, 64>({1, 50, 70}, Mask::causal, 3, 0, false);
  check<4, 2, 64>({1, 50, 70}, Mask::causal, 0, 0.05, false);
}

TEST_CASE("cuda flash attention: widths between those of its kernels") {
  for (const Mask kind : {Mask::causal, Mask::holes}) {
    check<2, 1, 40>({1, 68, 70}, kind, 0, 0, false);
    check<2, 2, 96>({2, 68, 70}, kind, 0, 0.1, true);
    check<2, 1, 128>({1, 68, 70}, kind, 0, 0, false);
    check<2, 1, 256>({1, 68, 70}, kind, 0, 0, true);
  }
}

TEST_CASE("cuda flash attention: few queries take the keys in parts") {
  for (const Mask kind : {Mask::full, Mask::causal, Mask::holes}) {
    check<2, 1, 64>({2, 1, 600}, kind, 0, 0, false);
    check<2, 1, 128>({1, 3, 530}, kind, 0, 0.01, true);
  }
}
