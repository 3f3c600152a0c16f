#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "cuda/both.hpp"

std::uint64_t calm::test::seed() {
  static const std::uint64_t s = [] {
    if (const char* named = std::getenv("CALM_TEST_SEED")) return static_cast<std::uint64_t>(std::stoull(named));
    return static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  }();
  return s;
}
