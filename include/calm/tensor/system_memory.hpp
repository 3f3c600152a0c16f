/// \file  Memory from the system, in large pages where they pay.
///
/// A page of 2 MiB is one fault, one entry of the processor's table, and one stretch for its prefetcher, where pages of
/// 4 KiB are 512 of each. That pays in long sweeps: weights, optimizers, logits, caches. For other blocks of less than
/// 16 MiB it brought nothing, and a virtual machine whose host takes free memory back pays for every large page that is
/// new.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace calm::detail {

inline constexpr std::size_t large_page = std::size_t{1} << 21, large_block = std::size_t{1} << 24;

/// Memory of `bytes` bytes; null where the system refuses.
inline void* take_aligned(std::size_t bytes, std::size_t alignment) {
  void* const memory = ::operator new(bytes, std::align_val_t{alignment}, std::nothrow);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Of whole pages alone, so that no more is used than was asked for. A wish: that it is refused does not matter.
  if (memory && bytes >= large_block) ::madvise(memory, bytes / large_page * large_page, MADV_HUGEPAGE);
#endif
  return memory;
}

/// Large pages that many blocks share, each smaller than `large_block`; for blocks that stay: their memory goes back to
/// the system when the last of a chunk is given back.
class LargePages {
 public:
  static LargePages& instance() {
    static LargePages* pages = new LargePages;  // never destroyed, as the pool that takes from it
    return *pages;
  }

  /// Aligned to a cache line; null where the system refuses.
  void* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    bytes = (bytes + 63) / 64 * 64;
    if (open_ == nullptr || open_->used + bytes > chunk_bytes) {
      void* const memory = take_aligned(chunk_bytes, chunk_bytes);
      if (memory == nullptr) return nullptr;
      open_ = new (memory) Chunk;
    }
    ++open_->blocks;
    return reinterpret_cast<char*>(open_) + std::exchange(open_->used, open_->used + bytes);
  }
  void give(void* block) {
    const std::lock_guard lock(mutex_);
    auto* const chunk = reinterpret_cast<Chunk*>(reinterpret_cast<std::uintptr_t>(block) / chunk_bytes * chunk_bytes);
    if (--chunk->blocks > 0) return;
    if (chunk == open_) open_ = nullptr;
    ::operator delete(chunk, std::align_val_t{chunk_bytes});
  }

 private:
  static constexpr std::size_t chunk_bytes = 2 * large_block;

  /// Stands at the beginning of each, which is aligned to its size.
  struct alignas(64) Chunk {
    std::size_t used = sizeof(Chunk), blocks = 0;
  };

  std::mutex mutex_;
  Chunk* open_ = nullptr;  // the one that blocks are cut from
};

/// How memory of `bytes` bytes is aligned: to a cache line, or where it is large to a large page.
constexpr std::size_t alignment_of(std::size_t bytes) { return bytes < large_block ? 64 : large_page; }

/// Whether a block stands in large pages with others: under the address sanitizer none does, which then sees who writes
/// behind one.
constexpr bool shares_pages([[maybe_unused]] std::size_t bytes, [[maybe_unused]] bool lasting) {
#if defined(__SANITIZE_ADDRESS__)
  return false;
#else
  return lasting && bytes < large_block;
#endif
}

/// Null where the system refuses. `lasting`: in large pages however small. Goes back by `give_system_memory` with the
/// same size.
inline void* take_system_memory(std::size_t bytes, bool lasting) {
  if (shares_pages(bytes, lasting)) return LargePages::instance().take(bytes);
  return take_aligned(bytes, alignment_of(bytes));
}
inline void give_system_memory(void* memory, std::size_t bytes, bool lasting) {
  if (shares_pages(bytes, lasting)) return LargePages::instance().give(memory);
  ::operator delete(memory, std::align_val_t{alignment_of(bytes)});
}

}  // namespace calm::detail
