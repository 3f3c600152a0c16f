#include "calm/tensor/cpu/parallel.hpp"

#include <cstddef>
#include <stdexcept>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;

namespace {

/// How often each index of a few loops was called, of many short ones and one of unequal items.
std::vector<int> calls() {
  std::vector<int> count(1000), items(1000);
  for (std::size_t loop = 0; loop < 300; ++loop) {
    kernel::parallel_ranges(loop, 7, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) ++count[i];
    });
  }
  kernel::parallel_items(items.size(), [&](std::size_t, std::size_t i) { ++items[i]; });
  count.insert(count.end(), items.begin(), items.end());
  return count;
}

}  // namespace

TEST_CASE("a team does what threads of their own do") {
  const std::vector<int> expected = calls();
  CHECK(expected[0] == 299);
  CHECK(expected[1999] == 1);
  for (int again = 0; again < 20; ++again) REQUIRE(kernel::with_team(Cpu{}, calls) == expected);
}

TEST_CASE("within a team there are as many threads, and within its loops one") {
  const std::size_t threads = kernel::threads();
  std::vector<std::size_t> inside(threads);
  const std::size_t led = kernel::with_team(Cpu{}, [&] {
    kernel::parallel_ranges(threads, 1, [&](std::size_t part, std::size_t, std::size_t) {
      inside[part] = kernel::threads();
      kernel::parallel_ranges(100, 1, [&](std::size_t begin, std::size_t end) { inside[part] += end - begin - 100; });
    });
    return kernel::threads();
  });
  CHECK(led == threads);
  CHECK(inside == std::vector<std::size_t>(threads, 1));
}

TEST_CASE("a team within a team is the same one") {
  CHECK(kernel::with_team(Cpu{}, [] { return kernel::with_team(Cpu{}, calls); }) == calls());
}

TEST_CASE("what is thrown leaves a team as it leaves a function") {
  const auto fails = []() -> int {
    calls();
    throw std::runtime_error("no");
  };
  CHECK_THROWS_AS(kernel::with_team(Cpu{}, fails), std::runtime_error);
  CHECK(kernel::with_team(Cpu{}, calls) == calls());
}
