/// \file  Groups of parameters that are trained in a way of their own.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace calm::train {

/// The parameters whose path `contains` picks. Of several groups that pick a parameter the first counts; what no group
/// picks is trained as the optimizer's own options say.
struct ParameterGroup {
  std::function<bool(const std::string& path)> contains;
  double rate_factor = 1;                ///< of the learning rate
  std::optional<double> weight_decay{};  ///< instead of the optimizer's, whatever the number of axes
  /// During the optimizer's first updates the group is as if it were not there: not in the norm, not in the moments.
  std::uint64_t frozen_updates = 0;
};

/// The groups of an optimizer, in order.
using ParameterGroups = std::vector<ParameterGroup>;

/// Picks the paths that have `part` in them: `path_has("gate")`.
inline std::function<bool(const std::string&)> path_has(std::string part) {
  return [part](const std::string& path) { return path.find(part) != std::string::npos; };
}

}  // namespace calm::train
