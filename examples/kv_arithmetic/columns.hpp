/// \file  A table of any columns over seeds: on the terminal and as JSON.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <calm/io/file.hpp>

#include "run.hpp"

namespace kv {

/// One line: a number per seed and column.
struct Line {
  std::string model;
  std::vector<std::vector<double>> of_seed;

  double mean(std::size_t column) const {
    double sum = 0;
    for (const auto& numbers : of_seed) sum += numbers[column];
    return sum / static_cast<double>(of_seed.size());
  }
  double deviation(std::size_t column) const {
    if (of_seed.size() < 2) return 0;
    double squares = 0;
    for (const auto& numbers : of_seed) squares += std::pow(numbers[column] - mean(column), 2);
    return std::sqrt(squares / static_cast<double>(of_seed.size() - 1));
  }
};

/// Prints the lines, mean ± standard deviation, and writes them to <out>/<name>.json.
inline void write_columns(const Settings& settings, const std::string& name, const std::vector<std::string>& columns,
                          const std::vector<Line>& lines) {
  nlohmann::json table{{"seed", settings.seed},
                       {"seeds", settings.seeds},
                       {"evaluated_texts", settings.evaluated},
                       {"steps", settings.composition.steps},
                       {"rows", nlohmann::json::array()}};
  fmt::print("\n{:<20}", "");
  for (const std::string& column : columns) fmt::print(" | {:>20}", column);
  for (const Line& line : lines) {
    nlohmann::json row{{"model", line.model}};
    fmt::print("\n{:<20}", line.model);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      row[columns[c]] = {{"mean", line.mean(c)}, {"standard_deviation", line.deviation(c)}};
      fmt::print(" | {:>11.4g} ± {:<6.2g}", line.mean(c), line.deviation(c));
    }
    table["rows"].push_back(row);
  }
  const std::string file = settings.out + "/" + name + ".json";
  calm::io::write_file_atomically(file, table.dump(2) + "\n");
  fmt::print("\n\nwritten: {}\n", file);
}

}  // namespace kv
