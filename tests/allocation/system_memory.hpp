/// \file  Counts every request for memory that this program makes of the system; include it in one file of a program.
///
/// With glibc, malloc and its kin are replaced (operator new calls them), and mmap. Under AddressSanitizer, which has
/// replaced them already, its hook counts.
#pragma once

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define CALM_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CALM_TEST_ASAN 1
#endif
#endif

namespace calm::test {

inline std::atomic<std::uint64_t> system_requests{0};

/// A request; put a breakpoint here to see who makes it.
inline void count_request() { system_requests.fetch_add(1, std::memory_order_relaxed); }

}  // namespace calm::test

#ifdef CALM_TEST_ASAN

// As in sanitizer/allocator_interface.h, which GCC 12 does not bring.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*, std::size_t),
                                                         void (*freed)(const volatile void*));

namespace calm::test {

inline const int hooked = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { count_request(); }, [](const volatile void*) {});

}  // namespace calm::test

#else

extern "C" {

void* __libc_malloc(std::size_t);                 // NOLINT: glibc's names
void* __libc_calloc(std::size_t, std::size_t);    // NOLINT
void* __libc_realloc(void*, std::size_t);         // NOLINT
void* __libc_memalign(std::size_t, std::size_t);  // NOLINT

void* malloc(std::size_t bytes) noexcept {
  calm::test::count_request();
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept {
  calm::test::count_request();
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) noexcept {
  calm::test::count_request();
  return __libc_realloc(old, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  calm::test::count_request();
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept { return memalign(alignment, bytes); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  *memory = memalign(alignment, bytes);
  return *memory ? 0 : ENOMEM;
}
void* mmap(void* address, std::size_t bytes, int protection, int flags, int file, off_t offset) noexcept {
  calm::test::count_request();
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, bytes, protection, flags, file, offset));
}

}  // extern "C"

#endif
