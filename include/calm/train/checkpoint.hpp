/// \file  A folder of checkpoints: each a folder `step-000123` of its own, there whole or not at all.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/tensor/error.hpp"

namespace calm::train {

/// A checkpoint is written beside the others under a name that nobody looks for, flushed to the disk and renamed; one
/// that goes is renamed first. So whatever kills the process, and whenever, each name `step-…` is a whole checkpoint.
/// Which is the newest is read from the names. One process at a time may write to a folder.
class CheckpointFolder {
 public:
  /// Opens or creates `path` and removes what a killed process left half done. Throws `Error`.
  explicit CheckpointFolder(std::string path) : path_(std::move(path)) {
    calm::detail::require(!std::filesystem::is_regular_file(path_), [&] {
      return "calm::train: " + path_ + ": expected a folder of checkpoints, found a file; name a folder, or remove it";
    });
    checked("cannot be created", [&](std::error_code& code) { std::filesystem::create_directories(path_, code); });
    std::vector<std::filesystem::path> unfinished;
    for_each_entry([&](const std::filesystem::path& entry) {
      if (entry.filename().string().starts_with(hidden)) unfinished.push_back(entry);
    });
    for (const auto& entry : unfinished) remove(entry);
  }

  const std::string& path() const { return path_; }
  /// The folder of the checkpoint after `step` steps.
  std::string folder_of(std::uint64_t step) const { return path_ + "/" + name_of(step); }

  /// Which steps there are checkpoints of, the newest first.
  std::vector<std::uint64_t> steps() const {
    std::vector<std::uint64_t> found;
    for_each_entry([&](const std::filesystem::path& entry) {
      const std::string name = entry.filename().string();
      std::uint64_t step = 0;
      if (!name.starts_with(prefix)) return;
      const auto [end, code] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), step);
      if (code == std::errc() && end == name.data() + name.size() && name == name_of(step)) found.push_back(step);
    });
    std::sort(found.begin(), found.end(), std::greater<>());
    return found;
  }

  /// Calls write(folder) with the path of an empty folder, which then takes the place of `step`'s checkpoint.
  template <class F>
  void save(std::uint64_t step, F&& write) {
    const std::string fresh = path_ + "/." + name_of(step) + ".new";
    remove(fresh);
    struct RemoveAtEnd {
      const std::string& folder;
      ~RemoveAtEnd() {
        std::error_code ignored;
        std::filesystem::remove_all(folder, ignored);
      }
    } const remove_at_end{fresh};
    checked("cannot make a folder in it", [&](std::error_code& code) {
      std::filesystem::create_directory(fresh, code);
    });
    write(fresh);
    flush(fresh);
    if (std::filesystem::exists(folder_of(step))) discard(step);
    checked("cannot rename a checkpoint", [&](std::error_code& code) {
      std::filesystem::rename(fresh, folder_of(step), code);
    });
    flush(path_);
  }

  /// Calls read(folder) for the newest checkpoint with wanted(step), or, where that throws `Error`, for the one before,
  /// and so on. Returns its step, or nothing where there is no checkpoint; warn(text) is told of each that was passed
  /// over, and why. Throws `Error`, which says that, if all are damaged.
  template <class Wanted, class Read, class Warn>
  std::optional<std::uint64_t> load_newest(const Wanted& wanted, const Read& read, const Warn& warn) const {
    std::vector<std::string> passed;
    for (const std::uint64_t step : steps()) {
      if (!wanted(step)) continue;
      try {
        read(folder_of(step));
        for (const std::string& reason : passed) warn(reason);
        return step;
      } catch (const Error& e) {
        passed.push_back("calm::train: " + folder_of(step) + " is passed over: " + e.what());
      }
    }
    calm::detail::require(passed.empty(), [&] {
      std::string text = "calm::train: " + path_ + ": no whole checkpoint of this run; name another folder, or remove "
                         "this one to start anew";
      for (const std::string& reason : passed) text += "\n" + reason;
      return text;
    });
    return std::nullopt;
  }

  /// Removes a checkpoint.
  void discard(std::uint64_t step) {
    const std::string old = path_ + "/." + name_of(step) + ".old";
    remove(old);
    checked("cannot rename a checkpoint", [&](std::error_code& code) {
      std::filesystem::rename(folder_of(step), old, code);
    });
    remove(old);
  }

  /// Keeps the newest `count` of those that are multiples of `every` (0: of all), and of the others those that are
  /// newer still, `count` at most: an interrupted run's.
  void prune(std::size_t count, std::uint64_t every) {
    std::size_t regular = 0, others = 0;
    for (const std::uint64_t step : steps()) {
      const bool is_regular = every == 0 || step % every == 0;
      if (is_regular ? ++regular > count : regular > 0 || ++others > count) discard(step);
    }
  }

 private:
  static constexpr std::string_view prefix = "step-", hidden = ".step-";

  static std::string name_of(std::uint64_t step) {
    char name[32];
    std::snprintf(name, sizeof name, "step-%06llu", static_cast<unsigned long long>(step));
    return name;
  }

  template <class F>
  void for_each_entry(const F& f) const {
    std::error_code code;
    std::filesystem::directory_iterator entry(path_, code);
    for (; !code && entry != std::filesystem::directory_iterator(); entry.increment(code)) f(entry->path());
    if (code) io::detail::throw_system(path_, "cannot be read", code.value(), "check its permissions");
  }

  template <class F>
  void checked(const char* what, F&& f) const {
    std::error_code code;
    f(code);
    if (code) io::detail::throw_system(path_, what, code.value(), "check its permissions and the free space");
  }

  void remove(const std::filesystem::path& entry) const {
    checked("cannot remove an old checkpoint", [&](std::error_code& code) {
      std::filesystem::remove_all(entry, code);
    });
  }

  void flush(const std::string& folder) const {
    const io::detail::Descriptor directory(io::detail::open_descriptor(folder, O_RDONLY | O_DIRECTORY));
    const int code = directory.get() < 0 ? errno : io::detail::synchronise(directory.get());
    if (code != 0 && code != EINVAL && code != ENOTSUP)
      io::detail::throw_system(folder, "cannot be flushed to the disk", code, "check the disk");
  }

  std::string path_;
};

}  // namespace calm::train
