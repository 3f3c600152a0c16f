#include "calm/tensor/system_memory.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/storage.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

using namespace calm;

TEST_CASE("blocks in large pages are aligned, apart, and side by side in a chunk") {
  detail::LargePages pages;
  std::vector<unsigned char*> blocks;
  for (std::size_t i = 0; i < 40; ++i) {
    blocks.push_back(static_cast<unsigned char*>(pages.take((1 << 20) + i)));
    std::fill_n(blocks[i], (1 << 20) + i, static_cast<unsigned char>(i));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    CAPTURE(i);
    CHECK(reinterpret_cast<std::uintptr_t>(blocks[i]) % 64 == 0);
    CHECK(std::all_of(blocks[i], blocks[i] + (1 << 20) + i, [i](unsigned char c) { return c == i; }));
  }
  CHECK(blocks[1] - blocks[0] == 1 << 20);
  for (unsigned char* b : blocks) pages.give(b);  // the sanitizers' builds see whether all goes back
}

TEST_CASE("lasting memory is counted, kept and returned as other memory is") {
  const Storage<Cpu> stays(1 << 16, Place::lasting);
  CpuPool& pool = CpuPool::instance();
  pool.trim();
  const MemoryUse before = pool.use();
  for (const std::size_t bytes : {std::size_t{1} << 16, std::size_t{1} << 24}) {
    const void* place = nullptr;
    {
      const Storage<Cpu> s(bytes, Place::lasting);
      place = s.data();
      CHECK(pool.use().live >= before.live + bytes);
      std::fill_n(static_cast<unsigned char*>(s.data()), bytes, static_cast<unsigned char>(1));
    }
    const std::uint64_t calls = pool.use().system_calls;
    CHECK(Storage<Cpu>(bytes).data() != place);  // memory that comes and goes takes none of it
    CHECK(Storage<Cpu>(bytes, Place::lasting).data() == place);
    CHECK(pool.use().system_calls == calls + 1);
  }
  pool.trim();
  CHECK(pool.use().live == before.live);
  CHECK(pool.use().reserved == before.reserved);
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("a sanitizer sees who writes behind lasting memory") {
  const Storage<Cpu> first(1 << 12, Place::lasting), second(1 << 12, Place::lasting);
  for (const Storage<Cpu>* s : {&first, &second}) {
    CHECK(__asan_address_is_poisoned(static_cast<char*>(s->data()) + CpuPool::block_bytes(1 << 12)) == 1);
  }
}
#endif
