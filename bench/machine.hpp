/// \file  What this machine can do, measured by this process, and the counters that compare a benchmark with it.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <limits>
#include <vector>

#include "calm/tensor/cpu/parallel.hpp"

namespace bench {

namespace detail {

#if defined(__AVX512F__)
inline constexpr std::size_t lanes = 16;
#elif defined(__AVX__)
inline constexpr std::size_t lanes = 8;
#else
inline constexpr std::size_t lanes = 4;
#endif

using Floats = float __attribute__((vector_size(lanes * sizeof(float))));
using Words = std::uint64_t __attribute__((vector_size(lanes * sizeof(float))));

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// How much `once` does in a second, in its own unit: the best of `trials` runs of it on every thread at a time.
template <class F>
double best_rate(std::size_t trials, double work_per_thread, const F& once) {
  const std::size_t threads = calm::kernel::threads();
  double best = 0;
  for (std::size_t trial = 0; trial <= trials; ++trial) {  // one to warm up
    const auto begin = std::chrono::steady_clock::now();
    calm::kernel::parallel_ranges(threads, 1, [&](std::size_t thread, std::size_t) { once(thread); });
    const double rate = work_per_thread * static_cast<double>(threads) / seconds_since(begin);
    if (trial > 0) best = std::max(best, rate);
  }
  return best;
}

/// x <- x * a + b in twelve independent registers, `rounds` times: more chains than two units of latency four or five
/// can leave waiting, and no memory.
inline void multiply_add(std::size_t rounds) {
  constexpr std::size_t chains = 12;
  std::array<Floats, chains> x;
  Floats a = Floats{} + 0.999f, b = Floats{} + 0.001f;
  benchmark::DoNotOptimize(a);
  benchmark::DoNotOptimize(b);
  for (std::size_t i = 0; i < chains; ++i) x[i] = Floats{} + static_cast<float>(i);
  for (std::size_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (std::size_t i = 0; i < chains; ++i) x[i] = x[i] * a + b;
  }
  for (Floats& v : x) benchmark::DoNotOptimize(v);
}

/// x <- x + a · a over pairs of bf16, by the processor's own instruction where the program is compiled with AVX-512.
inline void dot_pairs([[maybe_unused]] std::size_t rounds) {
#if defined(__AVX512F__)
  // One statement, whose operands are registers: sums of an array would be stored and loaded between two.
  const Floats a = Floats{} + 0.5f;
  Floats s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, s8 = a, s9 = a, s10 = a, s11 = a;
  for (std::size_t round = 0; round < rounds; ++round) {
    asm volatile(
        "vdpbf16ps %12, %12, %0\n\tvdpbf16ps %12, %12, %1\n\tvdpbf16ps %12, %12, %2\n\tvdpbf16ps %12, %12, %3\n\t"
        "vdpbf16ps %12, %12, %4\n\tvdpbf16ps %12, %12, %5\n\tvdpbf16ps %12, %12, %6\n\tvdpbf16ps %12, %12, %7\n\t"
        "vdpbf16ps %12, %12, %8\n\tvdpbf16ps %12, %12, %9\n\tvdpbf16ps %12, %12, %10\n\tvdpbf16ps %12, %12, %11"
        : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9),
          "+v"(s10), "+v"(s11)
        : "v"(a));
  }
#endif
}

/// Reads all of `words`.
inline void read(const std::vector<Words>& words) {
  std::array<Words, 8> x{};
  for (std::size_t i = 0; i + x.size() <= words.size(); i += x.size()) {
#pragma GCC unroll 8
    for (std::size_t j = 0; j < x.size(); ++j) x[j] ^= words[i + j];
  }
  for (Words& v : x) benchmark::DoNotOptimize(v);
}

}  // namespace detail

/// fp32 multiply-adds from registers on all threads that calm uses. FLOP/s, a multiply-add being 2 FLOPs.
inline double measure_peak_flops() {
  constexpr std::size_t rounds = 4'000'000;  // some 20 ms
  return detail::best_rate(10, static_cast<double>(rounds * 12 * detail::lanes * 2),
                           [](std::size_t) { detail::multiply_add(rounds); });
}

/// Reads of 128 MiB a thread, beyond every cache, on all threads that calm uses. Bytes/s.
inline double measure_read_bandwidth() {
  constexpr std::size_t bytes = std::size_t{128} << 20;
  std::vector<std::vector<detail::Words>> memory(calm::kernel::threads());
  for (auto& m : memory) m.assign(bytes / sizeof(detail::Words), detail::Words{} + 1);
  return detail::best_rate(10, static_cast<double>(bytes), [&](std::size_t thread) { detail::read(memory[thread]); });
}

/// The limits of one thread by its processor time, in which others on the machine do not count: the best of five runs.
namespace one_thread {

template <class F>
double rate(double work, const F& once) {
  const auto now = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };  // no other thread runs
  double best = 0;
  for (int trial = 0; trial < 5; ++trial) {
    const double begin = now();
    once();
    best = std::max(best, work / (now() - begin));
  }
  return best;
}

inline constexpr std::size_t rounds = 2'000'000;  // some 10 ms

inline double flops() {
  return rate(static_cast<double>(rounds * 12 * detail::lanes * 2), [] { detail::multiply_add(rounds); });
}
/// Infinite where the processor has no such instruction.
inline double bf16_flops() {
#if defined(__AVX512F__)
  if (__builtin_cpu_supports("avx512bf16"))
    return rate(static_cast<double>(rounds * 12 * 64), [] { detail::dot_pairs(rounds); });
#endif
  return std::numeric_limits<double>::infinity();
}
inline double read_bandwidth() {
  static const std::vector<detail::Words> memory((std::size_t{128} << 20) / sizeof(detail::Words), detail::Words{} + 1);
  return rate(static_cast<double>(std::size_t{128} << 20), [] { detail::read(memory); });
}

}  // namespace one_thread

/// Measured when first asked for.
struct Machine {
  double flops = measure_peak_flops();          ///< fp32, FLOP/s
  double bandwidth = measure_read_bandwidth();  ///< of reading memory, bytes/s
};
inline const Machine& machine() {
  static const Machine measured;
  return measured;
}

/// Reports FLOP/s and their part of the peak (a plain number; Google Benchmark prints "/s" behind every rate).
/// `flops`: FLOPs of one iteration.
inline void report_flops(benchmark::State& state, double flops) {
  const double all = flops * static_cast<double>(state.iterations());
  using benchmark::Counter;
  state.counters["FLOP/s"] = Counter(all, Counter::kIsRate);
  state.counters["of_peak"] = Counter(all / machine().flops, Counter::kIsRate);
  state.counters["peak"] = Counter(machine().flops);
}

/// Reports bytes/s and their part of the bandwidth of reading memory (above 1: it came from a cache). `bytes`: those
/// that one iteration has to read and write.
inline void report_bytes(benchmark::State& state, double bytes) {
  const double all = bytes * static_cast<double>(state.iterations());
  using benchmark::Counter;
  state.counters["bytes/s"] = Counter(all, Counter::kIsRate);
  state.counters["of_bandwidth"] = Counter(all / machine().bandwidth, Counter::kIsRate);
  state.counters["bandwidth"] = Counter(machine().bandwidth);
}

}  // namespace bench
