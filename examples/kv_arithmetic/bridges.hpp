/// \file  The table of bridges: one task, bridges of every kind. Each kind is a type, so they are compiled in several
/// files.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "experiment.hpp"

namespace kv {

/// One line of the table, before it is measured.
struct BridgeRow {
  std::string group;  ///< what is varied
  std::string name;
  std::size_t percent = 20;  ///< of the keys that D_C is made of
  std::function<Row(Experiment<DefaultScale>&, const BridgeRow&)> measure;

  std::string file_name() const {
    std::string stem = name;
    std::replace_if(stem.begin(), stem.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
    return stem;
  }
};

/// Keys that no line trains on, not even the one of 40 %: all are evaluated on these.
inline constexpr KeyRange unseen_keys{DefaultScale::keys * 2 / 5, DefaultScale::keys};

/// A line of bridges of type `Options` at the links of `Map`.
template <class Options, class Map = Links>
BridgeRow bridge_row(const std::string& group, const std::string& name, std::size_t percent = 20) {
  return {group, name, percent, [](Experiment<DefaultScale>& experiment, const BridgeRow& row) {
            const KeyRange learned{0, DefaultScale::keys * row.percent / 100};
            return experiment.bridge_row<Composed<DefaultScale, Options, Map>>(row.file_name(), "augment", learned,
                                                                               unseen_keys);
          }};
}

std::vector<BridgeRow> formulas();  ///< bridges_formulas.cpp
std::vector<BridgeRow> gates();     ///< bridges_gates.cpp
std::vector<BridgeRow> places();    ///< bridges_places.cpp: how many links, and where
std::vector<BridgeRow> mixes();     ///< bridges_mixes.cpp

}  // namespace kv
