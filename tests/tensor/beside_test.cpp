#include "calm/tensor/beside.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <thread>

#include <catch2/catch.hpp>

#include "calm/tensor/cpu/parallel.hpp"

using namespace calm;

namespace {

void wait_for(const std::atomic<bool>& said) {
  while (!said) std::this_thread::yield();
}

/// Whether what is launched now runs on another thread.
bool has_another() { return kernel::detail::Team::led() != nullptr && kernel::threads() == 2; }

std::size_t count_in_loops(std::size_t n) {
  std::atomic<std::size_t> calls{0};
  for (std::size_t i = 0; i < n; ++i) {
    kernel::parallel_ranges(n, 1, [&](std::size_t begin, std::size_t end) { calls += end - begin; });
  }
  return calls;
}

}  // namespace

TEST_CASE("loops are whole while the other thread of the team is at work beside, and behind it") {
  std::atomic<bool> may_end{false}, ended{false};
  std::size_t threads = 1;
  const bool passed = kernel::with_team(Cpu{}, [&] {
    const bool another = has_another();
    do_beside(Cpu{}, [&, another] {
      if (another) wait_for(may_end);
      if (another) threads = kernel::threads();
      ended = true;
    });
    CHECK(count_in_loops(100) == 100 * 100);
    if (another) CHECK(!ended);
    may_end = true;
    join_beside(Cpu{});
    CHECK(ended);
    CHECK(threads == 1);
    return count_in_loops(100) == 100 * 100;
  });
  CHECK(passed);
}

TEST_CASE("a place beside is joined before the end, what lies before it done") {
  for (const std::size_t place : {std::size_t{0}, std::size_t{7}, std::size_t{255}}) {
    std::atomic<bool> may_end{false};
    int before = 0;
    kernel::with_team(Cpu{}, [&] {
      do_beside(Cpu{}, [&, another = has_another()] {
        before = 1;
        mark_beside(Cpu{}, place);
        if (another) wait_for(may_end);
        before = 2;
        mark_beside(Cpu{}, 1000);
      });
      join_beside(Cpu{}, place);
      CHECK(before == (has_another() ? 1 : 2));
      may_end = true;
      join_beside(Cpu{}, 1000);
      CHECK(before == 2);
      return 0;
    });
  }
}

TEST_CASE("what is launched while other work is beside is done at once") {
  std::atomic<bool> may_end{false};
  kernel::with_team(Cpu{}, [&] {
    do_beside(Cpu{}, [&, another = has_another()] {
      if (another) wait_for(may_end);
    });
    bool done = false;
    do_beside(Cpu{}, [&] { done = true; });
    CHECK(done);
    may_end = true;
    join_beside(Cpu{});
    return 0;
  });
}

TEST_CASE("what is thrown beside is thrown where it is joined, once") {
  kernel::with_team(Cpu{}, [] {
    const auto fails = [] {
      do_beside(Cpu{}, [] { throw std::runtime_error("no"); });
      join_beside(Cpu{}, 3);
    };
    CHECK_THROWS_AS(fails(), std::runtime_error);
    CHECK_NOTHROW(join_beside(Cpu{}));
    CHECK(count_in_loops(10) == 100);
    return 0;
  });
}

TEST_CASE("an exception leaves a team only once the work beside has ended") {
  bool ended = false;
  const auto fails = [&]() -> int {
    do_beside(Cpu{}, [&] {
      count_in_loops(300);
      ended = true;
    });
    throw std::runtime_error("no");
  };
  CHECK_THROWS_AS(kernel::with_team(Cpu{}, fails), std::runtime_error);
  CHECK(ended);
}

TEST_CASE("what was launched holds nothing once it is joined") {
  const auto held = std::make_shared<int>(1);
  kernel::with_team(Cpu{}, [&] {
    do_beside(Cpu{}, [held] {});
    join_beside(Cpu{});
    CHECK(held.use_count() == 1);
    return 0;
  });
}
