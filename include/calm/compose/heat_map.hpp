/// \file  Attention weights as a picture: one self-contained SVG, token by token.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calm/compose/attention_weights.hpp"
#include "calm/tensor/error.hpp"
#include "calm/text/utf8.hpp"

namespace calm {

/// One map of a picture: a weight from 0 to 1 for each row and column, row-major; 0 is drawn as not seen.
struct HeatMapPanel {
  std::string name;
  std::vector<double> weights;
};

/// What of a batch's attention is drawn.
struct HeatMapOptions {
  std::size_t text = 0;                        ///< row of the batch
  std::size_t first_query = 0, first_key = 0;  ///< where the labelled tokens begin in it
  bool mean = false;                           ///< one map, the mean over heads, instead of one per head
};

namespace detail::svg {

// Everything is placed in whole pixels, so that no locale can put a comma into a number.
inline constexpr std::size_t cell = 18, letter = 7, gap = 24, line = 20, legend_width = 160;

/// `text` as XML: marked-up characters escaped; what XML or UTF-8 does not allow becomes U+FFFD.
inline std::string escaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const text::CodePoint c = text::code_point_at(text, i);
    const std::string_view bytes = text.substr(i, c.bytes);
    i += c.bytes;
    if (!c.valid || (c.value < 0x20 && c.value != '\t' && c.value != '\n' && c.value != '\r') ||
        (c.value >= 0x7F && c.value < 0xA0) || c.value == 0xFFFE || c.value == 0xFFFF) {
      out += "\xEF\xBF\xBD";
    } else {
      switch (c.value) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&quot;"; break;
        default: out += bytes;
      }
    }
  }
  return out;
}

/// A token as its label: blanks can be seen, and line ends and tabs are written out.
inline std::string visible(std::string_view token) {
  std::string out;
  for (const char c : token) {
    switch (c) {
      case ' ': out += "\xE2\x90\xA3"; break;  // U+2423, open box
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default: out += c;
    }
  }
  return out;
}

/// Pixels that a text takes in the picture's font of fixed width; letters of East Asia are twice as wide.
inline std::size_t width_of(std::string_view text) {
  std::size_t letters = 0;
  for (std::size_t i = 0; i < text.size();) {
    const text::CodePoint c = text::code_point_at(text, i);
    letters += c.valid && c.value >= 0x1100 ? 2 : 1;
    i += c.bytes;
  }
  return letters * letter;
}
inline std::size_t widest(std::span<const std::string> texts) {
  std::size_t most = 0;
  for (const std::string& t : texts) most = std::max(most, width_of(t));
  return most;
}

/// From pale to dark blue: the darker, the larger, so that it can be read in grey, too.
inline std::string color(double weight) {
  static constexpr std::array<std::array<double, 3>, 3> stops{{{232, 240, 250}, {74, 134, 200}, {10, 28, 74}}};
  const double x = 2 * std::clamp(weight, 0.0, 1.0);
  const std::size_t i = x < 1 ? 0 : 1;
  std::array<char, 8> text{};
  std::array<unsigned, 3> rgb{};
  for (std::size_t c = 0; c < 3; ++c) {
    const double step = stops[i + 1][c] - stops[i][c];
    rgb[c] = static_cast<unsigned>(std::lround(stops[i][c] + (x - static_cast<double>(i)) * step));
  }
  std::snprintf(text.data(), text.size(), "#%02x%02x%02x", rgb[0], rgb[1], rgb[2]);
  return text.data();
}

inline std::string number(double x) {
  std::array<char, 32> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), x, std::chars_format::fixed, 3).ptr};
}
inline std::string place(std::size_t x, std::size_t y) {
  std::string text = " x=\"";
  text += std::to_string(x);
  text += "\" y=\"";
  text += std::to_string(y);
  return text += '"';
}
inline std::string rect(std::size_t x, std::size_t y, std::size_t width, std::size_t height, std::string_view fill) {
  std::string text = "<rect" + place(x, y);
  text += " width=\"" + std::to_string(width);
  text += "\" height=\"" + std::to_string(height);
  text += "\" fill=\"";
  text += fill;
  return text += "\">";  // left open, for a title
}
inline std::string words(std::size_t x, std::size_t y, std::string_view text, std::string_view attributes = "") {
  std::string out = "<text" + place(x, y);
  out += attributes;
  out += '>';
  out += escaped(text);
  return out += "</text>\n";
}

/// One panel with its labels; (x, y) is the corner of its first cell.
class Panel {
 public:
  Panel(std::span<const std::string> rows, std::span<const std::string> columns) : rows_(rows), columns_(columns) {}

  std::string draw(const HeatMapPanel& panel, std::size_t x, std::size_t y, std::size_t above) const {
    std::string out = words(x, y - above, panel.name, " font-weight=\"bold\"");
    out += rect(x, y, columns_.size() * cell, rows_.size() * cell, "#ececec") + "</rect>\n";
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string at = std::to_string(x + c * cell + 13) + " " + std::to_string(y - 5);
      out += "<text transform=\"translate(" + at + ") rotate(-90)\">" + escaped(columns_[c]) + "</text>\n";
    }
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      out += words(x - 6, y + r * cell + 13, rows_[r], " text-anchor=\"end\"");
      for (std::size_t c = 0; c < columns_.size(); ++c) {
        const double weight = panel.weights[r * columns_.size() + c];
        if (weight == 0) continue;
        out += rect(x + c * cell, y + r * cell, cell - 1, cell - 1, color(weight));
        out += "<title>" + escaped(rows_[r]) + " reads " + escaped(columns_[c]) + ": " + number(weight);
        out += "</title></rect>\n";
      }
    }
    return out;
  }

 private:
  std::span<const std::string> rows_, columns_;
};

/// The scale of colours, from (x, y) down.
inline std::string legend(std::size_t x, std::size_t y) {
  constexpr std::size_t steps = 32, step = legend_width / steps;
  std::string out;
  for (std::size_t i = 0; i < steps; ++i) {
    out += rect(x + i * step, y, step, 12, color((static_cast<double>(i) + 0.5) / steps)) + "</rect>\n";
  }
  out += words(x, y + 26, "0") + words(x + legend_width / 2, y + 26, "0.5", " text-anchor=\"middle\"");
  out += words(x + legend_width, y + 26, "1", " text-anchor=\"end\"");
  out += rect(x + legend_width + gap, y, 12, 12, "#ececec") + "</rect>\n";
  return out + words(x + legend_width + gap + 18, y + 11, "not seen");
}

}  // namespace detail::svg

/// A picture of several maps over the same rows (who reads) and columns (what is read), as the text of an SVG file that
/// needs nothing else: labels at each map, a scale of colours from 0 to 1, and the weights themselves on hovering.
///
/// Labels are UTF-8; what is not becomes U+FFFD. Throws `Error` if a panel has not rows × columns weights.
inline std::string heat_map_svg(std::span<const HeatMapPanel> panels, std::span<const std::string> rows,
                                std::span<const std::string> columns, const std::string& title) {
  namespace svg = detail::svg;
  std::vector<std::string> row_labels, column_labels;
  for (const std::string& r : rows) row_labels.push_back(svg::visible(r));
  for (const std::string& c : columns) column_labels.push_back(svg::visible(c));
  std::size_t name_width = 0;
  for (const HeatMapPanel& p : panels) {
    detail::require(p.weights.size() == rows.size() * columns.size(), [&] {
      return "calm::heat_map_svg: panel \"" + p.name + "\" has " + std::to_string(p.weights.size()) +
             " weights, expected " + std::to_string(rows.size()) + " rows times " + std::to_string(columns.size()) +
             " columns";
    });
    name_width = std::max(name_width, svg::width_of(p.name));
  }
  const std::size_t abreast = panels.size() > 1 ? 2 : 1, deep = (panels.size() + abreast - 1) / abreast;
  const std::size_t left = svg::widest(row_labels) + 6, over = svg::widest(column_labels) + 12;
  const std::size_t wide = left + std::max(columns.size() * svg::cell, name_width) + svg::gap;
  const std::size_t high = svg::line + over + rows.size() * svg::cell + svg::gap, top = svg::gap + 2 * svg::line;
  const std::size_t width = svg::gap + std::max({abreast * wide, svg::width_of(title) + svg::gap,
                                                 svg::legend_width + 5 * svg::gap});
  const std::size_t height = top + deep * high + 2 * svg::line;
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + std::to_string(width);
  out += "\" height=\"" + std::to_string(height);
  out += "\" font-family=\"monospace\" font-size=\"11\">\n";
  out += svg::rect(0, 0, width, height, "white") + "</rect>\n";
  out += svg::words(svg::gap, svg::gap + 4, title, " font-size=\"12\"");
  const svg::Panel panel(row_labels, column_labels);
  for (std::size_t i = 0; i < panels.size(); ++i) {
    out += panel.draw(panels[i], svg::gap + i % abreast * wide + left, top + i / abreast * high + svg::line + over,
                      over + 4);
  }
  return out + svg::legend(svg::gap, top + deep * high) + "</svg>\n";
}

/// A picture of the attention of one link to one text of a batch: rows are the tokens that read, columns those that are
/// read and, where there is a sink, nothing. Labels are the tokens' texts, from `options.first_query` and `first_key`.
template <class T, class Head>
std::string heat_map_svg(const AttentionWeights<T, Head>& weights, std::span<const std::string> rows,
                         std::span<const std::string> columns, const std::string& title,
                         const HeatMapOptions& options = {}) {
  const std::size_t time = weights.keys.extent(2), keys = weights.keys.extent(3);
  detail::require(options.text < weights.keys.extent(0) && options.first_query + rows.size() <= time &&
                      options.first_key + columns.size() <= keys,
                  [&] {
                    return "calm::heat_map_svg: text " + std::to_string(options.text) + " with " +
                           std::to_string(rows.size()) + " rows and " + std::to_string(columns.size()) +
                           " columns is beyond the weights: there are " + std::to_string(weights.keys.extent(0)) +
                           " texts, " + std::to_string(time) + " queries and " + std::to_string(keys) + " keys";
                  });
  std::vector<std::string> all_columns(columns.begin(), columns.end());
  if (weights.has_sink) all_columns.push_back("(nothing)");
  std::vector<HeatMapPanel> panels;
  for (std::size_t head = 0; head < Head::extent; ++head) {
    auto& panel = panels.emplace_back(HeatMapPanel{"head " + std::to_string(head), {}});
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const std::size_t row = (options.text * Head::extent + head) * time + options.first_query + r;
      const T* const from = weights.keys.data() + row * keys + options.first_key;
      panel.weights.insert(panel.weights.end(), from, from + columns.size());
      if (weights.has_sink) panel.weights.push_back(weights.nothing[row]);
    }
  }
  if (options.mean) {
    for (std::size_t i = 0; i < panels[0].weights.size(); ++i) {
      for (std::size_t head = 1; head < Head::extent; ++head) panels[0].weights[i] += panels[head].weights[i];
      panels[0].weights[i] /= Head::extent;
    }
    panels.resize(1);
    panels[0].name = "mean over " + std::to_string(Head::extent) + " heads";
  }
  return heat_map_svg(panels, rows, all_columns, title);
}

}  // namespace calm
