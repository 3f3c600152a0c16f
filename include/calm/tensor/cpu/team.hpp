/// \file  Threads that stay awake between parallel loops, for work of many short ones.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
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

  /// f(part) for each of [0, parts), each on a thread of its own, part 0 on this one; all of them on this one while the
  /// other is at work beside. parts <= size()
  template <class F>
  void run(std::size_t parts, const F& f) noexcept {
    Team* const self = std::exchange(led(), nullptr);
    if (is_idle()) {
      call_ = [](const void* g, std::size_t part) { (*static_cast<const F*>(g))(part); };
      f_ = &f, parts_ = parts;
      if constexpr (std::is_trivially_copyable_v<F> && sizeof(F) <= sizeof(copy_))
        f_ = std::memcpy(copy_, &f, sizeof(F));
      begin_loop();
      f(0);
      wait([&] { return is_idle(); });
    } else {
      for (std::size_t part = 0; part < parts; ++part) f(part);
    }
    led() = self;
  }

  /// f(), in a team of two on the other thread, beside what follows; else at once, since one of many threads would take
  /// longer than all. What f refers to must outlive the team, which waits for f even if an exception ends it.
  void launch(std::function<void()> f) {
    if (size_ != 2 || !is_idle()) return f();
    beside_ = std::move(f);
    for (auto& reached : reached_) reached.store(false, std::memory_order_relaxed);
    call_ = [](const void* team, std::size_t) { static_cast<Team*>(const_cast<void*>(team))->do_beside(); };
    f_ = this, parts_ = 2;
    begin_loop();
  }
  /// Waits until what was launched has reached `place` or its end; throws what ended it.
  void join(std::size_t place = places) {
    wait([&] { return is_idle() || (place < places && reached_[place].load(std::memory_order_acquire)); });
    if (is_idle() && error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  /// Within what was launched: says that it has reached a place.
  static void reach(std::size_t place) {
    Team* const team = served();
    if (team != nullptr && place < places) team->reached_[place].store(true, std::memory_order_release);
  }
  /// Sends the others away.
  void dismiss() {
    wait([&] { return is_idle(); });
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
  static constexpr std::size_t places = 256;  // for those beyond, `join` waits until the end

  /// The team for which this thread is at work beside; null if it is not.
  static Team*& served() {
    static constinit thread_local Team* team = nullptr;
    return team;
  }
  void do_beside() {
    served() = this;
    try {
      std::exchange(beside_, nullptr)();  // which gives back what it holds
    } catch (...) {
      error_ = std::current_exception();
    }
    served() = nullptr;
  }
  void begin_loop() { loop_.store(loop_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  /// Whether the others have ended all loops that were begun.
  bool is_idle() const {
    const std::size_t all = loop_.load(std::memory_order_relaxed) * (size_ - 1);
    return done_.load(std::memory_order_acquire) == static_cast<std::uint32_t>(all);
  }

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
  std::function<void()> beside_;
  std::exception_ptr error_;
  alignas(64) std::array<std::atomic<bool>, places> reached_{};
};

}  // namespace calm::kernel::detail
