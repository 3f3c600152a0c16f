/// \file  Causal attention, fp32: 9 heads of width 64, two texts; as it is, and with operands rounded to bf16.
///
/// Useful FLOPs of the forward pass: q·kᵀ and p·v take 4·B·T·T·H·d, and causal order needs half. Of the backward pass:
/// 2.5 times as many, the recomputed scores included. Arguments: tokens of a text, key heads, whether operands are
/// rounded.
#include <cstddef>
#include <vector>

#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/cpu/attention_backward.hpp"
#include "machine.hpp"

namespace {

constexpr calm::Cpu cpu{};

struct Texts {
  static constexpr std::size_t batch = 2, heads = 9, width = 64;
  calm::kernel::AttentionExtents extents;
  std::vector<float> q, k, v, out, lse;
  std::vector<calm::Index> end;
  bool rounded;

  explicit Texts(const benchmark::State& state) : rounded(state.range(2) != 0) {
    bench::machine();
    const auto time = static_cast<std::size_t>(state.range(0)), kv_heads = static_cast<std::size_t>(state.range(1));
    extents = {batch, time, time, heads, kv_heads, width};
    q = numbers(batch * time * heads * width, 1);
    k = numbers(batch * time * kv_heads * width, 2);
    v = numbers(batch * time * kv_heads * width, 3);
    out.resize(q.size());
    lse.resize(batch * heads * time);
    for (std::size_t i = 0; i < batch * time; ++i) end.push_back(static_cast<calm::Index>(i % time + 1));
    forward();
  }
  /// Calls f with the rule.
  template <class F>
  void with_rule(const F& f) const {
    const calm::kernel::AttentionRule<float> exact{nullptr, end.data(), nullptr, nullptr, 0.125f, 0};
    if (rounded)
      f(calm::kernel::RoundedRule<float, calm::bf16>{exact});
    else
      f(exact);
  }
  void forward() {
    with_rule([&](const auto& rule) {
      calm::kernel::attention(cpu, extents, rule, q.data(), k.data(), v.data(), static_cast<const float*>(nullptr),
                              out.data(), lse.data());
    });
  }
  double forward_flops() const {
    return 4.0 * static_cast<double>(batch * extents.queries * extents.queries * heads * width) / 2;
  }

 private:
  /// Numbers between -1 and 1 in no obvious order.
  static std::vector<float> numbers(std::size_t n, std::size_t seed) {
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>((i + seed) * 7919 % 2048) / 1024.0f - 1.0f;
    return x;
  }
};

void forward(benchmark::State& state) {
  Texts t(state);
  for (auto _ : state) {
    t.forward();
    benchmark::ClobberMemory();
  }
  bench::report_flops(state, t.forward_flops());
}

void backward(benchmark::State& state) {
  Texts t(state);
  std::vector<float> dq(t.q.size()), dk(t.k.size()), dv(t.v.size());
  for (auto _ : state) {
    t.with_rule([&](const auto& rule) {
      calm::kernel::attention_backward(cpu, t.extents, rule, t.q.data(), t.k.data(), t.v.data(), t.out.data(),
                                       t.lse.data(), t.q.data(), dq.data(), dk.data(), dv.data());
    });
    benchmark::ClobberMemory();
  }
  bench::report_flops(state, 2.5 * t.forward_flops());
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"time", "kv_heads", "rounded"})->ArgsProduct({{128, 512}, {3, 9}, {0, 1}})->UseRealTime();
}

}  // namespace

BENCHMARK(forward)->Apply(shapes);
BENCHMARK(backward)->Apply(shapes);
