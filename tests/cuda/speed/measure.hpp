/// \file  How long things take on the GPU, one line of JSON each, beside what the device reaches in the same run.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "calm/tensor/cuda/memory.hpp"

namespace speed {

/// Seconds for one call of `once`: the median of five rounds of at least 20 ms each, behind a round that warms up.
template <class F>
double seconds_of(const F& once) {
  using Clock = std::chrono::steady_clock;
  const auto round = [&](std::size_t times) {
    calm::cuda::synchronize();
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < times; ++i) once();
    calm::cuda::synchronize();
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  round(2);
  const auto times = static_cast<std::size_t>(std::clamp(0.02 / std::max(round(1), 1e-6), 1.0, 2000.0)) + 1;
  std::vector<double> rounds;
  for (int i = 0; i < 5; ++i) rounds.push_back(round(times) / static_cast<double>(times));
  std::sort(rounds.begin(), rounds.end());
  return rounds[2];
}

/// `amount` of `unit` per call (bytes or FLOPs, in 10^12); `ceiling` of the same, per second, 0 if there is none.
inline double report(const char* name, double seconds, double amount, const char* unit, double ceiling) {
  const double rate = amount / seconds;
  std::printf("{\"name\": \"%s\", \"microseconds\": %.2f, \"rate\": %.4g, \"unit\": \"%s\", \"ceiling\": %.4g, "
              "\"share\": %.3f}\n",
              name, seconds * 1e6, rate, unit, ceiling, ceiling > 0 ? rate / ceiling : 0);
  std::fflush(stdout);
  return rate;
}

}  // namespace speed
