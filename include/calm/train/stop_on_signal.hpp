/// \file  Signals that ask a training run to save and stop.
#pragma once

#include <atomic>
#include <cerrno>
#include <csignal>
#include <functional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"

namespace calm::train {

/// While it lives, SIGINT and SIGTERM ask for a stop instead of ending the process; a second signal of a kind does what
/// it does by default, so that nobody is locked out. At its end the handlers of before are back.
///
///   train::StopOnSignal stop;
///   train::fit(model, stream, {.checkpoint = "run", .interrupted = stop});
class StopOnSignal {
 public:
  /// Throws `Error` if a signal cannot be caught.
  explicit StopOnSignal(std::vector<int> signals = {SIGINT, SIGTERM}) {
    if (depth_++ == 0) asked_ = false;
    old_.reserve(signals.size());
    for (const int number : signals) {
      struct sigaction action {}, old {};
      action.sa_handler = [](int) { asked_ = true; };
      action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
      if (::sigaction(number, &action, &old) != 0) {
        const int code = errno;
        restore();
        throw Error("calm::train::StopOnSignal: signal " + std::to_string(number) + " cannot be caught: " +
                    std::generic_category().message(code) + "; expected signals such as SIGINT and SIGTERM");
      }
      old_.emplace_back(number, old);
    }
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
  ~StopOnSignal() { restore(); }

  /// Whether a signal came, to this object or one around it.
  bool asked() const { return asked_; }
  /// For `FitOptions::interrupted`; the function must not outlive the object's use.
  operator std::function<bool()>() const {  // NOLINT(google-explicit-constructor): `.interrupted = stop` is the point
    return [] { return asked_.load(); };
  }

 private:
  void restore() {
    for (auto place = old_.rbegin(); place != old_.rend(); ++place) ::sigaction(place->first, &place->second, nullptr);
    old_.clear();
    --depth_;
  }

  static inline std::atomic<bool> asked_{false};
  static_assert(std::atomic<bool>::is_always_lock_free);  // or a handler may not write it
  static inline std::atomic<int> depth_{0};
  std::vector<std::pair<int, struct sigaction>> old_;
};

}  // namespace calm::train
