/// \file  Threads that stay awake between parallel loops, for work of many short ones.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>

namespace calm::kernel::detail {

/// A leader, who calls `run` as often as there is a loop, and others, who `serve` until they are dismissed. To begin
/// and end a loop so takes two words that go from core to core, a fifth of what it takes OpenMP.
class Team {
 public:
  /// The team that this thread leads and that waits for it; null while it is at work or if there is none.
  static Team*& led() {
    static constinit thread_local Team* team = nullptr;
    return team;
  }

  /// Whether some thread leads a team: a second one would wait for processors on which the first one waits.
  static std::atomic<bool>& any() {
    static constinit std::atomic<bool> led{false};
    return led;
  }

  explicit Team(std::size_t size) : size_(size) {}
  std::size_t size() const { return size_; }

  /// f(part) for each of [0, parts), each on a thread of its own, part 0 on this one. parts <= size()
  template <class F>
  void run(std::size_t parts, const F& f) noexcept {
    call_ = [](const void* g, std::size_t part) { (*static_cast<const F*>(g))(part); };
    f_ = &f, parts_ = parts;
    if constexpr (std::is_trivially_copyable_v<F> && sizeof(F) <= sizeof(copy_))
      f_ = std::memcpy(copy_, &f, sizeof(F));
    const std::uint32_t loop = loop_.load(std::memory_order_relaxed) + 1;
    loop_.store(loop, std::memory_order_release);
    Team* const self = std::exchange(led(), nullptr);
    f(0);
    led() = self;
    const auto all = static_cast<std::uint32_t>(loop * (size_ - 1));
    wait([&] { return done_.load(std::memory_order_acquire) == all; });
  }
  /// Sends the others away.
  void dismiss() {
    call_ = nullptr;
    loop_.fetch_add(1, std::memory_order_release);
  }

  /// What thread 1 and those behind it do.
  void serve(std::size_t thread) {
    for (std::uint32_t done = 0;; ++done) {
      wait([&] { return loop_.load(std::memory_order_acquire) != done; });
      if (call_ == nullptr) return;
      if (thread < parts_) call_(f_, thread);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

 private:
  /// Spins for some 50 µs, then lets others have the processor.
  template <class Ready>
  static void wait(const Ready& ready) {
    for (int spins = 0; !ready(); ++spins) {
      if (spins > 2000) {
        std::this_thread::yield();
        continue;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  }

  alignas(64) std::atomic<std::uint32_t> loop_{0};
  void (*call_)(const void*, std::size_t) = nullptr;
  const void* f_ = nullptr;
  std::size_t parts_ = 0, size_;
  alignas(64) std::byte copy_[192];  // of f: where it stands on the leader's stack, it would come word by word
  alignas(64) std::atomic<std::uint32_t> done_{0};  // counts on: to reset it would take its line to the leader and back
};

}  // namespace calm::kernel::detail
