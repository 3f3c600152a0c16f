/// \file  What a run was begun with, so that it is not gone on with as another one.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "calm/io/file.hpp"
#include "calm/io/json_file.hpp"
#include "calm/tensor/error.hpp"
#include "tools/compose/settings.hpp"

namespace calm::programs {

/// What decides each step of a run. How many steps there are does not, but for the learning rate's end.
inline nlohmann::ordered_json run_record(const ComposeSettings& s, const std::string& links, const std::string& bridge,
                                         const std::string& dtype) {
  return {{"anchor", s.anchor},
          {"augment", s.random_augment ? "of random weights, shaped as " + s.augment : s.augment},
          {"links", links},
          {"bridge", bridge},
          {"frozen_matrices", dtype},
          {"data", s.data},
          {"data_bytes", std::filesystem::file_size(s.data)},
          {"held_out", s.held_out},
          {"choose_on", s.choose_on},
          {"max_length", s.max_length},
          {"too_long", s.too_long},
          {"batch", s.batch},
          {"learning_rate", s.learning_rate},
          {"warmup", s.warmup},
          {"chat_turns", s.chat_turns},
          {"date", s.generate.date},
          {"seed", s.seed}};
}

/// Writes `record` to `path`, or compares it with what is there. Throws `Error` with the first entry that differs.
inline void require_same_run(const std::string& path, const nlohmann::ordered_json& record) {
  if (!std::filesystem::exists(path)) return io::write_file_atomically(path, record.dump(2) + "\n");
  const nlohmann::json before = io::read_json(path);
  for (const auto& [key, value] : record.items()) {
    if (before.contains(key) && before[key] == nlohmann::json(value)) continue;
    throw Error(path + ": the run in this folder was begun with another " + key + ": " +
                before.value(key, nlohmann::json()).dump() + ", now " + value.dump() +
                "; give --fresh to train anew, or another --out");
  }
}

}  // namespace calm::programs
