/// \file  The log of a training run: JSON, one object per line.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "calm/io/file.hpp"
#include "calm/tensor/error.hpp"

namespace calm::train {

/// One line of the log.
struct Metrics {
  std::uint64_t step = 0;
  double loss = 0;               ///< nats per token
  double learning_rate = 0;
  double gradient_norm = 0;      ///< before clipping
  double tokens_per_second = 0;
  double seconds = 0;            ///< since the run (or its resumption) began
};

/// A line of the log: what an evaluation on held-out texts found.
struct EvaluationMetrics {
  std::uint64_t step = 0;
  double loss = 0;              ///< what the evaluation returned
  double best = 0;              ///< the lowest so far
  std::uint64_t best_step = 0;
};

namespace detail {

/// A line of JSON in memory of its own.
class MetricsLine {
 public:
  explicit MetricsLine(const Metrics& m) {
    count("{\"step\":", m.step);
    number(",\"loss\":", m.loss);
    number(",\"lr\":", m.learning_rate);
    number(",\"grad_norm\":", m.gradient_norm);
    number(",\"tokens_per_second\":", m.tokens_per_second);
    number(",\"seconds\":", m.seconds);
    text("}\n");
  }
  explicit MetricsLine(const EvaluationMetrics& m) {
    count("{\"step\":", m.step);
    number(",\"eval_loss\":", m.loss);
    number(",\"best\":", m.best);
    count(",\"best_step\":", m.best_step);
    text("}\n");
  }
  std::string_view view() const { return {buffer_.data(), static_cast<std::size_t>(end_ - buffer_.data())}; }

 private:
  void text(std::string_view s) {
    std::memcpy(end_, s.data(), s.size());
    end_ += s.size();
  }
  void count(std::string_view key, std::uint64_t value) {
    text(key);
    end_ = std::to_chars(end_, buffer_.data() + buffer_.size(), value).ptr;
  }
  void number(std::string_view key, double value) {
    text(key);
    if (std::isfinite(value))
      end_ = std::to_chars(end_, buffer_.data() + buffer_.size(), value).ptr;  // the shortest that reads back equal
    else
      text("null");  // JSON has no NaN
  }

  std::array<char, 384> buffer_;  // six numbers of at most 24 characters, and the keys
  char* end_ = buffer_.data();
};

}  // namespace detail

/// Appends lines to a file; what is there stays: {"step", "loss", "lr", "grad_norm", "tokens_per_second", "seconds"},
/// {"step", "eval_loss", "best", "best_step"} and {"step", "event"}. A number that is not finite is null. Each line is
/// one write, so other programs may follow the file.
class MetricsLog {
 public:
  /// Opens or creates `path`. Throws `Error`.
  explicit MetricsLog(std::string path)
      : path_(std::move(path)), file_(io::detail::open_descriptor(path_, O_RDWR | O_CREAT | O_APPEND, 0666)) {
    if (file_.get() < 0) fail("cannot open the metrics log", errno);
    const off_t size = ::lseek(file_.get(), 0, SEEK_END);
    char last = '\n';
    if (size > 0 && ::pread(file_.get(), &last, 1, size - 1) == 1 && last != '\n') append("\n");  // cut off by a crash
  }

  /// Appends a line. Throws `Error` if the disk is full; no half a line is left.
  void write(const Metrics& metrics) { append(detail::MetricsLine(metrics).view()); }
  void write_evaluation(const EvaluationMetrics& metrics) { append(detail::MetricsLine(metrics).view()); }
  /// Something that happened at `step`, in words.
  void write_event(std::uint64_t step, std::string_view event) {
    std::string line = "{\"step\":";
    line += std::to_string(step);
    line += ",\"event\":\"";
    for (const char c : event) line += c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 ? '_' : c;
    line += "\"}\n";
    append(line);
  }

  const std::string& path() const { return path_; }
  /// Bytes in the file, all of them on the disk when this returns, as far as the system can tell.
  std::uint64_t position() const {
    io::detail::synchronise(file_.get());
    const off_t size = ::lseek(file_.get(), 0, SEEK_END);
    return size > 0 ? static_cast<std::uint64_t>(size) : 0;
  }
  /// Drops what stands behind `position`: lines that a run wrote after the checkpoint from which it goes on. Throws
  /// `Error`.
  void cut(std::uint64_t position) {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) fail("cannot read its size", errno);
    if (static_cast<std::uint64_t>(status.st_size) <= position) return;
    if (::ftruncate(file_.get(), static_cast<off_t>(position)) != 0) fail("cannot drop lines", errno);
  }

 private:
  void append(std::string_view line) {
    ssize_t n;
    do n = ::write(file_.get(), line.data(), line.size());
    while (n < 0 && errno == EINTR);
    if (n == static_cast<ssize_t>(line.size())) return;
    const int code = n < 0 ? errno : ENOSPC;
    struct stat status {};
    if (n > 0 && ::fstat(file_.get(), &status) == 0 && ::ftruncate(file_.get(), status.st_size - n) != 0) {
      fail("cannot write, nor remove the half line at its end", code);
    }
    fail("cannot write", code);
  }

  [[noreturn]] void fail(std::string_view what, int code) const {
    io::detail::throw_system(path_, what, code, "free some space, or log elsewhere");
  }

  std::string path_;
  io::detail::Descriptor file_;
};

}  // namespace calm::train
