/// \file  What a run must remember beside its parameters and the optimizer.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "calm/train/evaluation.hpp"

namespace calm::train::detail {

/// Kept in the metadata of a checkpoint.
struct RunState {
  std::uint64_t step = 0;                ///< done
  double loss_sum = 0;                   ///< since the last line of the log
  std::uint64_t loss_count = 0;          ///< steps in that sum
  std::uint64_t skipped = 0;             ///< batches dropped
  std::uint64_t skipped_in_a_row = 0;
  std::vector<std::uint64_t> bad_steps;  ///< that were rolled back, and whose batches are dropped
  Evaluations evaluations;
  std::string log;                       ///< path
  std::uint64_t log_bytes = 0;

  double mean_loss() const { return loss_count > 0 ? loss_sum / static_cast<double>(loss_count) : 0; }
  bool is_bad(std::uint64_t s) const { return std::find(bad_steps.begin(), bad_steps.end(), s) != bad_steps.end(); }

  void visit(auto&& v) {
    v("step", step);
    v("loss_sum", loss_sum);
    v("loss_count", loss_count);
    v("skipped", skipped);
    v("skipped_in_a_row", skipped_in_a_row);
    v("bad_steps", bad_steps);
    v("best", evaluations.best);
    v("best_step", evaluations.best_step);
    v("worse", evaluations.worse);
    v("log", log);
    v("log_bytes", log_bytes);
  }
};

/// Numbers are written so that they read back equal.
class RunStateWriter {
 public:
  explicit RunStateWriter(io::SafetensorsWriter& writer) : writer_(writer) {}

  template <class T>
  void operator()(const char* key, const T& value) const {
    writer_.set_metadata(std::string("run.") + key, text_of(value));
  }

 private:
  static std::string text_of(const std::string& value) { return value; }
  static std::string text_of(std::uint64_t value) { return std::to_string(value); }
  static std::string text_of(double value) {
    char buffer[32];
    return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
  }
  static std::string text_of(const std::vector<std::uint64_t>& values) {
    std::string text;
    for (const std::uint64_t value : values) {
      text += std::to_string(value);
      text += ' ';
    }
    return text;
  }

  io::SafetensorsWriter& writer_;
};

/// Throws `Error` where a key is missing or no number.
class RunStateReader {
 public:
  explicit RunStateReader(const io::SafetensorsFile& file) : file_(file) {}

  template <class T>
  void operator()(const char* key, T& value) const {
    const auto place = file_.metadata().find(std::string("run.") + key);
    if (place == file_.metadata().end()) fail(key, "none");
    if (!read(place->second, value)) fail(key, "'" + place->second.substr(0, 40) + "'");
  }

 private:
  static bool read(const std::string& text, std::string& value) {
    value = text;
    return true;
  }
  template <class Number>
  static bool read(const std::string& text, Number& value) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc() && end == text.data() + text.size();
  }
  static bool read(const std::string& text, std::vector<std::uint64_t>& values) {
    values.clear();
    const char* const end = text.data() + text.size();
    for (const char* at = text.data(); at != end; ++at) {  // each number is followed by a blank
      const auto [next, code] = std::from_chars(at, end, values.emplace_back());
      if (code != std::errc() || next == end || *next != ' ') return false;
      at = next;
    }
    return true;
  }

  [[noreturn]] void fail(const char* key, const std::string& found) const {
    std::string message = "calm::train: ";
    message += file_.path();
    message += ": expected the metadata key 'run.";
    message += key;
    message += "' of a training run, found ";
    message += found;
    throw Error(message + "; take another checkpoint");
  }

  const io::SafetensorsFile& file_;
};

}  // namespace calm::train::detail
