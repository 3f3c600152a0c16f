/// \file  The progress line of a training run, on a terminal only.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace calm::train {

namespace detail {

/// "1:02:03", or "2:03" below an hour; "-" if nobody can know.
inline std::array<char, 32> clock_text(double seconds) {
  std::array<char, 32> text{'-', '\0'};
  if (!(seconds >= 0 && seconds < 3.6e9)) return text;
  const auto s = static_cast<unsigned long>(seconds + 0.5);
  if (s >= 3600)
    std::snprintf(text.data(), text.size(), "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text.data(), text.size(), "%lu:%02lu", s / 60, s % 60);
  return text;
}

}  // namespace detail

/// One line on stderr (or `descriptor`) that is written over at most five times a second:
///
///   anchor  1200/5000 (24%)  loss 1.2345  45.3k tokens/s  left 2:03
///
/// Where the descriptor is no terminal, nothing is ever written.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  Progress(std::string name, std::uint64_t steps, bool enabled = true, int descriptor = STDERR_FILENO)
      : name_(std::move(name)), steps_(steps), descriptor_(descriptor), shown_(enabled && ::isatty(descriptor) == 1) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { finish(); }

  /// `step` steps are done, the last with `loss`, at `tokens_per_second`.
  void update(std::uint64_t step, double loss, double tokens_per_second) {
    if (!shown_) return;
    const Clock::time_point now = Clock::now();
    if (first_step_ == none) {  // a resumed run starts in the middle; its first step sets the clock
      first_step_ = step;
      begin_ = now;
    }
    if (dirty_ && step < steps_ && now - last_ < std::chrono::milliseconds(200)) return;
    last_ = now;
    const double done = static_cast<double>(step - first_step_);
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double left = done > 0 ? seconds / done * static_cast<double>(steps_ - std::min(step, steps_)) : -1;
    write(line(step, loss, tokens_per_second, left));
    dirty_ = true;
  }

  /// Ends the line, so that what follows stands on the next.
  void finish() {
    if (std::exchange(dirty_, false)) write({'\n', '\0'});
  }

 private:
  using Line = std::array<char, 256>;
  static constexpr std::uint64_t none = ~std::uint64_t{0};

  Line line(std::uint64_t step, double loss, double rate, double left) const {
    Line out;
    const double percent = steps_ > 0 ? 100 * static_cast<double>(step) / static_cast<double>(steps_) : 100;
    const char* unit = rate >= 1e6 ? "M" : (rate >= 1e3 ? "k" : "");
    const double shown = rate >= 1e6 ? rate / 1e6 : (rate >= 1e3 ? rate / 1e3 : rate);
    // \r and "erase to the end of the line" around it, so that a shorter line leaves nothing of a longer one.
    std::snprintf(out.data(), out.size(), "\r%.80s  %llu/%llu (%.0f%%)  loss %.4f  %.1f%s tokens/s  left %s\033[K",
                  name_.c_str(), static_cast<unsigned long long>(step), static_cast<unsigned long long>(steps_),
                  std::floor(percent), loss, shown, unit, detail::clock_text(left).data());
    return out;
  }

  void write(const Line& text) const {
    const std::size_t n = std::char_traits<char>::length(text.data());
    [[maybe_unused]] const ssize_t written = ::write(descriptor_, text.data(), n);  // a lost line is no error
  }

  std::string name_;
  std::uint64_t steps_, first_step_ = none;
  int descriptor_;
  bool shown_, dirty_ = false;
  Clock::time_point begin_{}, last_{};
};

}  // namespace calm::train
