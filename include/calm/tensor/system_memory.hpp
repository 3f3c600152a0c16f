/// \file  Memory from the system, in large pages where it is large.
///
/// A page of 2 MiB is one fault, one entry of the processor's table, and one stretch for its prefetcher, where pages of
/// 4 KiB are 512 of each. That pays in long sweeps: weights, optimizers, logits. For smaller blocks it brought nothing,
/// and a virtual machine whose host takes free memory back pays for every large page that is new.
#pragma once

#include <cstddef>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace calm::detail {

inline constexpr std::size_t large_page = std::size_t{1} << 21, large_block = std::size_t{1} << 24;

/// How memory of `bytes` bytes is aligned: to a cache line, or where it is large to a large page.
constexpr std::align_val_t alignment_of(std::size_t bytes) {
  return std::align_val_t{bytes < large_block ? 64 : large_page};
}

/// Null where the system refuses. Goes back by `give_system_memory` with the same size.
inline void* take_system_memory(std::size_t bytes) {
  void* const memory = ::operator new(bytes, alignment_of(bytes), std::nothrow);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Of whole pages alone, so that no more is used than was asked for. A wish: that it is refused does not matter.
  if (memory && bytes >= large_block) ::madvise(memory, bytes / large_page * large_page, MADV_HUGEPAGE);
#endif
  return memory;
}
inline void give_system_memory(void* memory, std::size_t bytes) { ::operator delete(memory, alignment_of(bytes)); }

}  // namespace calm::detail
