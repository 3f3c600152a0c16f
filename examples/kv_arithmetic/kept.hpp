/// \file  What an earlier run has left to go on with. With --retrain that is what the same command made before it was
/// interrupted, and nothing else: each file that it has finished is marked, until the command is through.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "run.hpp"

namespace kv {

inline constexpr const char* retrained_mark = ".retrained";

/// Whether `file` is there and to be used as it is.
inline bool is_kept(const Settings& settings, const std::string& file) {
  return std::filesystem::exists(file) && (!settings.retrain || std::filesystem::exists(file + retrained_mark));
}

/// Says that `file` has been made.
inline void keep(const Settings& settings, const std::string& file) {
  if (settings.retrain) std::ofstream(file + retrained_mark);
}

/// The command is through: the next --retrain begins anew.
inline void forget_marks(const Settings& settings) {
  std::vector<std::filesystem::path> marks;
  for (const std::string& folder : {settings.bases, settings.out}) {
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.path().extension() == retrained_mark) marks.push_back(entry.path());
    }
  }
  for (const auto& mark : marks) std::filesystem::remove(mark);
}

}  // namespace kv
