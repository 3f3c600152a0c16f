/// \file  Small JSON files, read strictly.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/io/safetensors_header.hpp"
#include "calm/tensor/error.hpp"

namespace calm::io {

/// The longest JSON file that is read, in bytes, and how deeply it may nest.
inline constexpr std::size_t max_json_bytes = 64'000'000;
inline constexpr int max_json_depth = 64;

/// The JSON in `path`. Throws `Error` if it is too long, nests too deeply, is not JSON, or says a key twice (of which
/// readers keep the first or the last, so two programs would read two things).
inline nlohmann::json read_json(const std::string& path) {
  using nlohmann::json;
  const std::string text = read_file(path, max_json_bytes);
  const auto fail = [&](const std::string& what) { throw Error("calm::io: " + path + ": " + what); };
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > max_json_depth) fail("expected JSON nested at most 64 deep, found more");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      fail("the key " + detail::in_quotes(parsed.get<std::string>()) + " stands twice in one object");
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& e) {
    throw Error("calm::io: " + path + ": not valid JSON: " + detail::in_quotes(e.what()));
  }
}

}  // namespace calm::io
