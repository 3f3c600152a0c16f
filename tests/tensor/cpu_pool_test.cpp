#include "calm/tensor/cpu_pool.hpp"

#include <cstddef>

#include <catch2/catch.hpp>

#include "calm/tensor/storage.hpp"

using namespace calm;

namespace {

CpuPool& pool() { return CpuPool::instance(); }

}  // namespace

TEST_CASE("a block is at most a quarter larger than asked for, however large") {
  for (std::size_t bytes = 257; bytes < (std::size_t{1} << 24); bytes = bytes * 9 / 8) {
    const std::size_t before = pool().use().live;
    const Storage<Cpu> s(bytes);
    const std::size_t given = pool().use().live - before;
    CHECK(given >= bytes);
    CHECK(given <= bytes + bytes / 4 + 64);
  }
}

TEST_CASE("larger blocks serve only while the pool is sparing") {
  pool().trim();
  { const Storage<Cpu> large(1 << 20); }
  const auto before = pool().use();
  { const Storage<Cpu> own(1 << 10); }
  CHECK(pool().use().system_calls == before.system_calls + 1);
  pool().trim();
  { const Storage<Cpu> large(1 << 20); }
  const auto kept = pool().use();
  {
    const CpuPool::Sparing sparing;
    const Storage<Cpu> borrowed(1 << 10);
    CHECK(pool().use().live == kept.live + (1 << 20));
    const Storage<Cpu> own(1 << 10);  // nothing is free any more
    CHECK(pool().use().system_calls == kept.system_calls + 1);
  }
  CHECK(pool().use().live == kept.live);
  { const Storage<Cpu> back(1 << 20); }
  CHECK(pool().use().system_calls == kept.system_calls + 1);
}

TEST_CASE("what is not in use is returned to the system") {
  { const Storage<Cpu> s(1 << 16); }
  CHECK(pool().use().reserved > pool().use().live);
  pool().trim();
  CHECK(pool().use().reserved == pool().use().live);
}

TEST_CASE("memory beyond the system's is refused with a sentence") {
  const auto before = pool().use();
  CHECK_THROWS_WITH(Storage<Cpu>(~std::size_t{0} / 2), Catch::Contains("calm: out of memory: "));
#ifndef __SANITIZE_ADDRESS__  // which ends the program
  CHECK_THROWS_WITH(Storage<Cpu>(std::size_t{1} << 50), Catch::Contains("calm: out of memory: "));
#endif
  CHECK(pool().use().live == before.live);
  CHECK(pool().use().reserved == before.reserved);
}
