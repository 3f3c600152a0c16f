/// \file  Real data that tests use where it is found.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace calm::test {

/// The path of a file of real data, in the folder that CALM_TEST_DATA names (else the default of the build); nothing if
/// it is not there.
inline std::optional<std::string> find_test_data(const std::string& name) {
  const char* folder = std::getenv("CALM_TEST_DATA");
  const std::filesystem::path path = std::filesystem::path(folder ? folder : CALM_TEST_DATA_DEFAULT) / name;
  return std::filesystem::is_regular_file(path) ? std::optional(path.string()) : std::nullopt;
}

}  // namespace calm::test
