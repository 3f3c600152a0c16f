#include "calm/train/schedule.hpp"

#include <cmath>

#include <catch2/catch.hpp>

using namespace calm::train;

static_assert(Schedule{Decay::constant, 8.0, 4, 10}(0) == 2.0 && Schedule{Decay::constant, 8.0, 4, 10}(3) == 8.0);
static_assert(Schedule{Decay::constant, 8.0, 4, 10}(1'000'000) == 8.0);
static_assert(Schedule{Decay::constant, 8.0, 0, 10}(0) == 8.0);
static_assert(Schedule{Decay::linear, 1.0, 2, 10, 0}(0) == 0.5 && Schedule{Decay::linear, 1.0, 2, 10, 0}(2) == 1.0);
static_assert(Schedule{Decay::linear, 1.0, 2, 10, 0}(6) == 0.5 && Schedule{Decay::linear, 1.0, 2, 10, 0}(10) == 0.0);
static_assert(Schedule{Decay::linear, 1.0, 2, 10, 0.5}(6) == 0.75);
static_assert(Schedule{Decay::linear, 1.0, 2, 10, 0.5}(99) == 0.5);
static_assert(Schedule{Decay::cosine, 1.0, 2, 10, 0}(10) == 0.0);
static_assert(Schedule{Decay::cosine, 4.0, 2, 10, 0.25}(10) == 1.0);

TEST_CASE("Decay::cosine follows half a cosine from the peak to the floor") {
  constexpr double pi = 3.14159265358979323846;
  const Schedule rate{Decay::cosine, 3e-4, 100, 1100, 0.1};
  for (std::uint64_t step = 100; step <= 1100; ++step) {
    const double t = static_cast<double>(step - 100) / 1000;
    CHECK(rate(step) == Approx(3e-4 * (0.1 + 0.9 * 0.5 * (1 + std::cos(pi * t)))).epsilon(1e-13));
  }
}

TEST_CASE("schedules rise in the warm-up and never after it") {
  for (const Decay decay : {Decay::cosine, Decay::linear, Decay::constant}) {
    const Schedule rate{decay, 1.0, 100, 1100, 0};
    for (std::uint64_t step = 1; step < 1200; ++step) {
      const double change = rate(step) - rate(step - 1);
      CHECK((step < 100 ? change > 0 : change <= 0));
    }
  }
}

TEST_CASE("a schedule that is all warm-up ends at its floor") {
  const Schedule rate{Decay::cosine, 1.0, 10, 10, 0.1};
  CHECK(rate(9) == 1.0);
  CHECK(rate(10) == Approx(0.1));
}
