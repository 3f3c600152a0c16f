/// \file  Normalisation, fp32: bound by memory.
///
/// Bytes that one pass has to move, for n elements: forward reads x and writes y (8·n); backward reads x and dy, and
/// reads and writes dx (16·n). Arguments: rows (tokens), width. 16 384 rows are beyond the caches of most machines.
#include <cstddef>
#include <vector>

#include "calm/tensor/cpu/norm.hpp"
#include "machine.hpp"

namespace {

constexpr calm::Cpu cpu{};

struct Rows {
  std::size_t count, width;
  std::vector<float> x, y, weight, bias, statistics;

  explicit Rows(const benchmark::State& state)
      : count(static_cast<std::size_t>(state.range(0))),
        width(static_cast<std::size_t>(state.range(1))),
        x(count * width, 0.5f),
        y(count * width, 0.25f),
        weight(width, 1.0f),
        bias(width, 0.0f),
        statistics(2 * count, 1.0f) {
    bench::machine();
  }
};

void rms_norm(benchmark::State& state) {
  Rows r(state);
  for (auto _ : state) {
    calm::kernel::rms_norm(cpu, r.count, r.width, r.x.data(), r.weight.data(), 0.0f, 1e-5, r.y.data(),
                           r.statistics.data());
    benchmark::ClobberMemory();
  }
  bench::report_bytes(state, 8.0 * static_cast<double>(r.x.size()));
}

void rms_norm_backward(benchmark::State& state) {
  Rows r(state);
  std::vector<float> dx(r.x.size());
  for (auto _ : state) {
    calm::kernel::rms_norm_backward(cpu, r.count, r.width, r.x.data(), r.weight.data(), 0.0f, r.statistics.data(),
                                    r.y.data(), dx.data(), dx.data());
    benchmark::ClobberMemory();
  }
  bench::report_bytes(state, 16.0 * static_cast<double>(r.x.size()));
}

void layer_norm(benchmark::State& state) {
  Rows r(state);
  for (auto _ : state) {
    calm::kernel::layer_norm(cpu, r.count, r.width, r.x.data(), r.weight.data(), r.bias.data(), 1e-5, r.y.data(),
                             r.statistics.data());
    benchmark::ClobberMemory();
  }
  bench::report_bytes(state, 8.0 * static_cast<double>(r.x.size()));
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "width"})->ArgsProduct({{1024, 16384}, {576, 2048}})->UseRealTime();
}

}  // namespace

BENCHMARK(rms_norm)->Apply(shapes);
BENCHMARK(rms_norm_backward)->Apply(shapes);
BENCHMARK(layer_norm)->Apply(shapes);
