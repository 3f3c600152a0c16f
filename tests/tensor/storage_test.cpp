#include "calm/tensor/storage.hpp"

#include <cstdint>

#include <catch2/catch.hpp>

using namespace calm;

namespace {

CpuPool& pool() { return CpuPool::instance(); }

int released = 0;
void release(void* context) { released += *static_cast<int*>(context); }

bool aligned(const Storage<Cpu>& s) { return reinterpret_cast<std::uintptr_t>(s.data()) % 64 == 0; }

}  // namespace

TEST_CASE("a block goes back to the pool with its last handle, and out again") {
  pool().trim();
  const auto before = pool().use();
  const void* first = nullptr;
  {
    Storage<Cpu> a(1000);
    CHECK(aligned(a));
    CHECK(a.unique());
    first = a.data();
    const Storage<Cpu> b = a;
    CHECK(b.data() == first);
    CHECK(!a.unique());
    a = {};
    CHECK(b.unique());
    CHECK(pool().use().live == before.live + 1024);
  }
  CHECK(pool().use().live == before.live);
  CHECK(pool().use().reserved == before.reserved + 1024);
  const Storage<Cpu> again(900);  // of the same class: 897 to 1024 bytes
  CHECK(again.data() == first);
  CHECK(pool().use().system_calls == before.system_calls + 1);
}

TEST_CASE("memory of others is read in place and released once") {
  int theirs = 7;
  {
    const auto s = Storage<Cpu>::external<&release>(&theirs, &theirs);
    const auto copy = s;
    CHECK(copy.data() == &theirs);
    CHECK(!s.unique());  // nobody may write it
    CHECK(released == 0);
  }
  CHECK(released == 7);
}
