#include "calm/train/schedule.hpp"

#include <cmath>

#include <catch2/catch.hpp>

using namespace calm::train;

static_assert(warmup_constant(0, 4, 8.0) == 2.0 && warmup_constant(3, 4, 8.0) == 8.0);
static_assert(warmup_constant(1'000'000, 4, 8.0) == 8.0 && warmup_constant(0, 0, 8.0) == 8.0);
static_assert(warmup_linear(0, 2, 10, 1.0) == 0.5 && warmup_linear(2, 2, 10, 1.0) == 1.0);
static_assert(warmup_linear(6, 2, 10, 1.0) == 0.5 && warmup_linear(10, 2, 10, 1.0) == 0.0);
static_assert(warmup_linear(6, 2, 10, 1.0, 0.5) == 0.75 && warmup_linear(99, 2, 10, 1.0, 0.5) == 0.5);
static_assert(warmup_cosine(10, 2, 10, 1.0) == 0.0 && warmup_cosine(10, 2, 10, 4.0, 0.25) == 1.0);
static_assert(Schedule{Decay::cosine, 3.0, 2, 10, 0.1}(7) == warmup_cosine(7, 2, 10, 3.0, 0.1));
static_assert(Schedule{Decay::linear, 3.0, 2, 10, 0.1}(7) == warmup_linear(7, 2, 10, 3.0, 0.1));
static_assert(Schedule{Decay::constant, 3.0, 2, 10, 0.1}(7) == 3.0 && Schedule{Decay::constant, 3.0, 2, 10}(0) == 1.5);

TEST_CASE("warmup_cosine follows half a cosine from the peak to the floor") {
  constexpr double pi = 3.14159265358979323846;
  for (std::uint64_t step = 100; step <= 1100; ++step) {
    const double t = static_cast<double>(step - 100) / 1000;
    const double expected = 3e-4 * (0.1 + 0.9 * 0.5 * (1 + std::cos(pi * t)));
    CHECK(warmup_cosine(step, 100, 1100, 3e-4, 0.1) == Approx(expected).epsilon(1e-13));
  }
}

TEST_CASE("schedules rise in the warm-up and never after it") {
  for (std::uint64_t step = 1; step < 1200; ++step) {
    const double change[] = {warmup_cosine(step, 100, 1100, 1.0) - warmup_cosine(step - 1, 100, 1100, 1.0),
                             warmup_linear(step, 100, 1100, 1.0) - warmup_linear(step - 1, 100, 1100, 1.0)};
    for (const double c : change) CHECK((step < 100 ? c > 0 : c <= 0));
  }
}

TEST_CASE("a schedule that is all warm-up ends at its floor") {
  CHECK(warmup_cosine(9, 10, 10, 1.0, 0.1) == 1.0);
  CHECK(warmup_cosine(10, 10, 10, 1.0, 0.1) == Approx(0.1));
}
