/// \file  The table of bridges as JSON and as a picture.
#pragma once

#include <string>
#include <vector>

#include "bridges.hpp"
#include "report.hpp"

namespace kv {

/// A dot for each line's mean and a bar of one standard deviation to either side; in one column per set.
inline std::string bridges_picture(const std::vector<BridgeRow>& rows, const std::vector<Row>& means) {
  static constexpr double Scores::*sets[] = {&Scores::substitution, &Scores::numeric, &Scores::math};
  static constexpr const char* titles[] = {"KV-Substitution", "Numeric-Arithmetic", "KV-Math"};
  static constexpr const char* colors[] = {"#4c78a8", "#f58518", "#54a24b"};
  static constexpr double left = 190, column = 190, width = 160, top = 62, step = 20;
  const double bottom = top + step * static_cast<double>(rows.size());
  std::string out;
  for (std::size_t set = 0; set < 3; ++set) {
    const double x0 = left + column * static_cast<double>(set);
    const auto x_of = [&](double percent) { return x0 + width * percent / 100; };
    out += svg::text(x0 + width / 2, top - 16, titles[set]);
    for (int tick = 0; tick <= 100; tick += 25) {
      out += svg::line({x_of(tick), top - 8}, {x_of(tick), bottom}, "#e0e0e0");
      out += svg::text(x_of(tick), bottom + 14, fmt::format("{}", tick), "middle", 10);
    }
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const double y = top + step * (static_cast<double>(r) + 0.4);
      const double mean = means[r].scores.*sets[set], spread = means[r].deviation.*sets[set];
      out += svg::line({x_of(std::max(0.0, mean - spread)), y}, {x_of(std::min(100.0, mean + spread)), y}, colors[set]);
      out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x_of(mean), y, colors[set]);
    }
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double y = top + step * (static_cast<double>(r) + 0.4);
    out += svg::text(left - 14, y + 4, rows[r].name, "end");
    if (r > 0 && rows[r].group != rows[r - 1].group) {
      out += svg::line({20, y - step / 2}, {left + 3 * column, y - step / 2}, "#b0b0b0");
    }
  }
  const double height = bottom + 30;
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"780\" height=\"{0:.0f}\" "
                     "font-family=\"sans-serif\">\n<rect width=\"780\" height=\"{0:.0f}\" fill=\"white\"/>\n",
                     height) +
         svg::text(390, 22, "Exact match in percent by kind of bridge, on keys that no bridge saw", "middle", 15) +
         out + "</svg>\n";
}

inline void write_bridges_report(const Settings& settings, const std::vector<BridgeRow>& rows,
                                 const std::vector<Row>& means) {
  auto table = to_json<DefaultScale>(settings, means);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    table["rows"][r]["group"] = rows[r].group;
    table["rows"][r]["held_in_keys"] = DefaultScale::keys * rows[r].percent / 100;
  }
  table["settings"]["evaluated_keys"] = unseen_keys.last - unseen_keys.first;
  table["settings"].erase("held_in_keys");
  const std::string stem = settings.out + "/kv_bridges";
  calm::io::write_file_atomically(stem + ".json", table.dump(2) + "\n");
  calm::io::write_file_atomically(stem + ".svg", bridges_picture(rows, means));
  fmt::print("\nwritten: {0}.json, {0}.svg\n", stem);
}

}  // namespace kv
