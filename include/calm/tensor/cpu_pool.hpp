/// \file  The pool that blocks of host memory come from.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "calm/tensor/error.hpp"
#include "calm/tensor/system_memory.hpp"

namespace calm {

namespace detail {

/// Stands in front of every block. 64 bytes, so that the data behind it stays aligned to a cache line.
struct alignas(64) BlockHeader {
  std::atomic<std::uint32_t> references{1};
  std::uint32_t size_class = 0;
  BlockHeader* next = nullptr;                 // in the free list
  void (*release)(BlockHeader*) = nullptr;     // what the last owner calls
  void* context = nullptr;                     // for `release`
  void* external = nullptr;                    // data that is not behind the header (a mapped file, a device's)
  std::uint64_t stamp = 0;                     // of memory that a device reads: what was launched before it was written
  bool read_only = false;
  bool lasting = false;                        // in large pages
};
static_assert(sizeof(BlockHeader) == 64);

}  // namespace detail

/// What a pool holds. Counts are in bytes.
struct MemoryUse {
  std::size_t live = 0;          ///< handed out now
  std::size_t peak = 0;          ///< the most that was ever handed out at once
  std::size_t reserved = 0;      ///< taken from the system, in use or kept
  std::uint64_t system_calls = 0;  ///< how often the system was asked for memory
};

/// Keeps freed blocks by size class (four classes per power of two) and hands them out again, so that a loop of equal
/// steps asks the system for nothing after its first one.
class CpuPool {
 public:
  static CpuPool& instance() {
    static CpuPool* pool = new CpuPool;  // never destroyed: tensors with static lifetime may outlive any order
    return *pool;
  }

  /// While one lives, a larger block serves where none of the right class is free. For loops whose steps differ in size
  /// and keep nothing: what is kept would hold too much.
  class Sparing {
   public:
    Sparing() { instance().spare(1); }
    Sparing(const Sparing&) = delete;
    Sparing& operator=(const Sparing&) = delete;
    ~Sparing() { instance().spare(-1); }
  };

  /// What a block of `bytes` takes: the whole of its size class.
  static constexpr std::size_t block_bytes(std::size_t bytes) { return class_bytes(class_of(bytes)); }

  /// A block of at least `bytes` bytes with one reference; `lasting`: in large pages (`detail::LargePages`). Throws
  /// `Error` if the system has none.
  detail::BlockHeader* take(std::size_t bytes, bool lasting = false) {
    const std::uint32_t c = class_of(bytes);
    const std::size_t size = class_bytes(c);
    auto& free = free_[lasting];
    {
      const std::lock_guard lock(mutex_);
      for (std::uint32_t from = c; from < (sparing_ > 0 ? classes : c + 1); ++from) {
        if (detail::BlockHeader* block = free[from]) {
          free[from] = block->next;
          block->references.store(1, std::memory_order_relaxed);
          count_live(class_bytes(from));
          return block;
        }
      }
      count_live(size);
      use_.reserved += size;
      ++use_.system_calls;
    }
    void* memory = detail::take_system_memory(sizeof(detail::BlockHeader) + size, lasting);
    if (memory == nullptr) {
      const std::lock_guard lock(mutex_);
      use_.live -= size;
      use_.reserved -= size;
      throw_out_of_memory(size);
    }
    auto* block = new (memory) detail::BlockHeader;
    block->size_class = c;
    block->lasting = lasting;
    block->release = [](detail::BlockHeader* b) { CpuPool::instance().give(b); };
    return block;
  }

  /// Takes a block back that nobody holds.
  void give(detail::BlockHeader* block) {
    const std::lock_guard lock(mutex_);
    use_.live -= class_bytes(block->size_class);
    detail::BlockHeader*& first = free_[block->lasting][block->size_class];
    block->next = std::exchange(first, block);
  }

  /// Returns every unused block to the system.
  void trim() {
    const std::lock_guard lock(mutex_);
    for (auto& free : free_) {
      for (std::uint32_t c = 0; c < classes; ++c) {
        while (detail::BlockHeader* block = free[c]) {
          free[c] = block->next;
          use_.reserved -= class_bytes(c);
          detail::give_system_memory(block, sizeof(detail::BlockHeader) + class_bytes(c), block->lasting);
        }
      }
    }
  }

  MemoryUse use() const {
    const std::lock_guard lock(mutex_);
    return use_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    use_.peak = use_.live;
  }

 private:
  static constexpr std::uint32_t classes = 4 * 48;

  void spare(int change) {
    const std::lock_guard lock(mutex_);
    sparing_ += change;
  }
  void count_live(std::size_t bytes) {
    use_.live += bytes;
    use_.peak = std::max(use_.peak, use_.live);
  }

  // Class 4e+s holds (4+s)·2^e cache lines: at most a quarter of a block is unused.
  static constexpr std::uint32_t class_of(std::size_t bytes) {
    const std::size_t lines = bytes / 64 + (bytes % 64 != 0);
    if (lines <= 4) return 0;
    const auto e = static_cast<std::uint32_t>(std::bit_width(lines - 1)) - 3;
    const std::size_t quarter = std::size_t{1} << e;
    const std::uint32_t c = 4 * e + static_cast<std::uint32_t>((lines - 1) / quarter + 1) - 4;
    if (c >= classes) throw_out_of_memory(bytes);
    return c;
  }
  static constexpr std::size_t class_bytes(std::uint32_t c) { return 64 * ((std::size_t{4} + c % 4) << (c / 4)); }

  [[noreturn]] static void throw_out_of_memory(std::size_t bytes) {
    throw Error("calm: out of memory: " + std::to_string(bytes) +
                " bytes were asked of the system and refused; use a smaller batch or a shorter context");
  }

  mutable std::mutex mutex_;
  std::array<std::array<detail::BlockHeader*, classes>, 2> free_{};  // not lasting, lasting
  MemoryUse use_;
  int sparing_ = 0;
};

}  // namespace calm
