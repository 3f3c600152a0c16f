/// \file  The table of the experiment: on the terminal, as JSON, and as a picture.
#pragma once

#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <calm/io/file.hpp>

#include "experiment.hpp"

namespace kv {

/// The paper's Table 1, where it has the row.
struct PaperRow {
  const char* model;
  double substitution, numeric, math;
};
inline constexpr PaperRow paper_rows[] = {
    {"augment", 98.1, 4.2, 0.7}, {"anchor", 0.0, 73.7, 0.0}, {"composed", 92.9, 72.0, 84.3}};

/// Mean and standard deviation, row by row, of the tables of several seeds.
inline std::vector<Row> over_seeds(const std::vector<std::vector<Row>>& tables) {
  std::vector<Row> rows = tables.front();
  const auto n = static_cast<double>(tables.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (double Scores::*score : {&Scores::substitution, &Scores::numeric, &Scores::math}) {
      double sum = 0, squares = 0;
      for (const auto& table : tables) sum += table[r].scores.*score;
      for (const auto& table : tables) squares += std::pow(table[r].scores.*score - sum / n, 2);
      rows[r].scores.*score = sum / n;
      rows[r].deviation.*score = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
    }
    rows[r].seconds = 0;
    for (const auto& table : tables) rows[r].seconds += table[r].seconds;
  }
  return rows;
}

inline void print(const std::vector<Row>& rows) {
  fmt::print("\n{:<8} | {:>11} {:>11} {:>11} | {:>9} | {:>7} | paper (PaLM 2)\n", "exact %", "KV-Subst", "Numeric",
             "KV-Math", "trainable", "seconds");
  const auto cell = [](double score, double deviation) {
    return deviation > 0 ? fmt::format("{:.1f} ± {:.1f}", score, deviation) : fmt::format("{:.1f}", score);
  };
  for (const Row& r : rows) {
    fmt::print("{:<8} | {:>11} {:>11} {:>11} | {:>9} | {:>7.1f} |", r.model,
               cell(r.scores.substitution, r.deviation.substitution), cell(r.scores.numeric, r.deviation.numeric),
               cell(r.scores.math, r.deviation.math), r.trainable_parameters, r.seconds);
    for (const PaperRow& p : paper_rows) {
      if (r.model == p.model) fmt::print(" {:>5.1f} {:>5.1f} {:>5.1f}", p.substitution, p.numeric, p.math);
    }
    fmt::print("\n");
  }
}

inline nlohmann::json to_json(const Row& r) {
  return {{"model", r.model},
          {"kv_substitution", r.scores.substitution},
          {"numeric_arithmetic", r.scores.numeric},
          {"kv_math", r.scores.math},
          {"trainable_parameters", r.trainable_parameters},
          {"training_seconds", r.seconds},
          {"standard_deviation",
           {{"kv_substitution", r.deviation.substitution},
            {"numeric_arithmetic", r.deviation.numeric},
            {"kv_math", r.deviation.math}}}};
}

template <class S>
nlohmann::json to_json(const Settings& settings, const std::vector<Row>& rows) {
  const auto training = [](const Training& t) {
    return nlohmann::json{{"steps", t.steps}, {"batch_size", t.batch_size}, {"learning_rate", t.learning_rate}};
  };
  nlohmann::json table{{"settings",
                        {{"seed", settings.seed},
                         {"seeds", settings.seeds},
                         {"anchor_seed", settings.anchor_seed},
                         {"keys", S::keys},
                         {"held_in_keys", KeyBook<S>::held_in()},
                         {"largest_value", S::keys - 1},
                         {"operands", {S::min_operands, S::max_operands}},
                         {"evaluated_expressions", settings.evaluated},
                         {"augment_parameters", Augment<S>::parameter_count},
                         {"anchor_parameters", Anchor<S>::parameter_count},
                         {"augment", training(settings.augment)},
                         {"anchor", training(settings.anchor)},
                         {"composition", training(settings.composition)}}},
                       {"rows", nlohmann::json::array()}};
  for (const Row& r : rows) table["rows"].push_back(to_json(r));
  return table;
}

namespace svg {

struct Point {
  double x, y;
};

inline std::string text(double x, double y, const std::string& s, const char* anchor = "middle", int size = 12) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" font-size=\"{}\">{}</text>\n", x, y, anchor,
                     size, s);
}
inline std::string line(Point a, Point b, const char* color) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", a.x, a.y, b.x,
                     b.y, color);
}

/// Grouped bars: three tasks, a bar for each model.
inline std::string bars(const std::vector<Row>& rows, double x0, double y0, double width, double height) {
  static constexpr const char* colors[] = {"#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2",
                                           "#72b7b2", "#9d755d", "#eeca3b", "#bab0ac"};
  static constexpr const char* tasks[] = {"KV-Substitution", "Numeric-Arithmetic", "KV-Math"};
  std::string out;
  for (int tick = 0; tick <= 100; tick += 25) {
    const double y = y0 + height * (1 - tick / 100.0);
    out += line({x0, y}, {x0 + width, y}, "#e0e0e0") + text(x0 - 6, y + 4, fmt::format("{} %", tick), "end", 11);
  }
  const double group = width / 3, bar = group * 0.86 / static_cast<double>(rows.size());
  for (std::size_t task = 0; task < 3; ++task) {
    const double left = x0 + static_cast<double>(task) * group + group * 0.07;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Scores& s = rows[i].scores;
      const double v = task == 0 ? s.substitution : (task == 1 ? s.numeric : s.math);
      const double x = left + static_cast<double>(i) * bar, top = y0 + height * (1 - v / 100);
      out += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n", x, top,
                         bar * 0.9, height * v / 100, colors[i % 9]);
      out += text(x + bar * 0.45, top - 3, fmt::format("{:.0f}", v), "middle", 10);
    }
    out += text(x0 + (static_cast<double>(task) + 0.5) * group, y0 + height + 18, tasks[task]);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double x = x0 + static_cast<double>(i) * width / static_cast<double>(rows.size()), y = y0 + height + 36;
    out +=
        fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"11\" height=\"11\" fill=\"{}\"/>\n", x, y, colors[i % 9]);
    out += text(x + 16, y + 10, rows[i].model, "start");
  }
  return out;
}

/// The loss over steps, on a logarithmic scale with a line at each power of ten.
inline std::string curve(const std::vector<Point>& points, double x0, double y0, double width, double height) {
  if (points.empty()) return "";
  double least = points[0].y, most = points[0].y;
  for (const Point& p : points) least = std::min(least, p.y), most = std::max(most, p.y);
  const double bottom = std::floor(std::log10(std::max(least, 1e-9))),
               top = std::ceil(std::log10(std::max(most, 1e-9)));
  const auto y_of = [&](double exponent) { return y0 + height * (top - exponent) / std::max(1.0, top - bottom); };
  std::string path, out;
  for (double e = bottom; e <= top; ++e) {
    out += line({x0, y_of(e)}, {x0 + width, y_of(e)}, "#e0e0e0");
    out += text(x0 - 6, y_of(e) + 4, fmt::format("{:g}", std::pow(10, e)), "end", 11);
  }
  for (const Point& p : points) {
    path += fmt::format("{}{:.1f},{:.1f} ", path.empty() ? "M" : "L", x0 + width * p.x / points.back().x,
                        y_of(std::log10(std::max(p.y, 1e-9))));
  }
  out += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"#54a24b\" stroke-width=\"2\"/>\n", path);
  out += text(x0 + width / 2, y0 + height + 18,
              fmt::format("training the bridges: loss in nats per token over {:.0f} steps", points.back().x));
  return out;
}

}  // namespace svg

/// The loss over steps that a run logged.
inline std::vector<svg::Point> read_curve(const std::string& jsonl) {
  std::vector<svg::Point> points;
  std::ifstream in(jsonl);
  for (std::string line; std::getline(in, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    if (entry.is_object() && entry.contains("step") && entry.contains("loss")) {
      const double step = entry["step"];
      if (!points.empty() && points.back().x >= step) points.clear();  // a later run was appended
      points.push_back({step, entry["loss"]});
    }
  }
  return points;
}

inline std::string picture(const std::vector<Row>& rows, const std::vector<svg::Point>& loss) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"600\" font-family=\"sans-serif\">\n"
         "<rect width=\"760\" height=\"600\" fill=\"white\"/>\n" +
         svg::text(380, 26, "Two frozen models and their composition, on keys that the bridges never saw", "middle",
                   15) +
         svg::bars(rows, 60, 50, 670, 270) + svg::curve(loss, 60, 420, 670, 130) + "</svg>\n";
}

/// Writes kv_arithmetic.json and kv_arithmetic.svg into the results' folder.
template <class S>
void write_report(const Settings& settings, const std::vector<Row>& rows) {
  const std::string stem = settings.out + "/kv_arithmetic";
  const std::string curve = settings.out + "/composed-seed" + std::to_string(settings.seed) + ".jsonl";
  calm::io::write_file_atomically(stem + ".json", to_json<S>(settings, rows).dump(2) + "\n");
  calm::io::write_file_atomically(stem + ".svg", picture(rows, read_curve(curve)));
  fmt::print("\nwritten: {}.json, {}.svg\n", stem, stem);
}

}  // namespace kv
