// The picture is XML that says what the weights say.
#include <cstddef>
#include <sstream>
#include <string>
#include <vector>

#include <boost/property_tree/xml_parser.hpp>
#include <catch2/catch.hpp>

#include "calm/compose/heat_map.hpp"

namespace {

using namespace calm;
using Tree = boost::property_tree::ptree;

/// Parses strictly, so that what is no XML throws.
Tree svg_of(const std::string& text) {
  std::istringstream in(text);
  Tree tree;
  read_xml(in, tree);
  return tree.get_child("svg");
}
std::vector<std::string> texts(const Tree& svg) {
  std::vector<std::string> all;
  for (const auto& [name, element] : svg) {
    if (name == "text") all.push_back(element.data());
  }
  return all;
}
bool has(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}
struct Cell {
  std::string title, fill;
  int x, y;
};
std::vector<Cell> cells(const Tree& svg) {
  std::vector<Cell> all;
  for (const auto& [name, element] : svg) {
    if (const auto title = element.get_optional<std::string>("title")) {
      all.push_back({*title, element.get<std::string>("<xmlattr>.fill"), element.get<int>("<xmlattr>.x"),
                     element.get<int>("<xmlattr>.y")});
    }
  }
  return all;
}
int brightness(const std::string& fill) { return std::stoi(fill.substr(1, 2), nullptr, 16); }

}  // namespace

TEST_CASE("each weight is a cell at its row and column, the darker the larger; nothing is drawn of what is not seen") {
  const std::vector<std::string> rows{"a", "b"}, columns{"u", "v", "w"};
  const std::vector<HeatMapPanel> panels{{"one", {0.25, 0, 0, 0.125, 0.5, 1}}};
  const auto svg = svg_of(heat_map_svg(panels, rows, columns, "a title"));
  const auto drawn = cells(svg);
  REQUIRE(drawn.size() == 4);
  CHECK(drawn[0].title == "a reads u: 0.250");
  CHECK(drawn[1].title == "b reads u: 0.125");
  CHECK(drawn[3].title == "b reads w: 1.000");
  CHECK(drawn[0].x == drawn[1].x);
  CHECK(drawn[1].y == drawn[3].y);
  CHECK(drawn[1].y - drawn[0].y == 18);
  CHECK(drawn[3].x - drawn[1].x == 36);
  CHECK(brightness(drawn[1].fill) > brightness(drawn[0].fill));
  CHECK(brightness(drawn[0].fill) > brightness(drawn[2].fill));
  CHECK(brightness(drawn[2].fill) > brightness(drawn[3].fill));
  for (const char* label : {"a title", "one", "a", "b", "u", "v", "w", "0", "0.5", "1", "not seen"}) {
    CHECK(has(texts(svg), label));
  }
}

TEST_CASE("any bytes may be labels") {
  const std::vector<std::string> rows{"<&>\"", "\n", "\x01"}, columns{" the", "\xFF", "\xE6\x97\xA5"};
  const std::vector<HeatMapPanel> panels{{"]]> & co", std::vector<double>(9, 0.5)}};
  const auto all = texts(svg_of(heat_map_svg(panels, rows, columns, "1 < 2")));
  for (const char* label : {"<&>\"", "\\n", "\xE2\x90\xA3the", "\xE6\x97\xA5", "]]> & co", "1 < 2"}) {
    CHECK(has(all, label));
  }
  CHECK(std::count(all.begin(), all.end(), "\xEF\xBF\xBD") == 2);
}

TEST_CASE("nothing lies outside of the picture, and no label on another map") {
  const std::vector<std::string> rows{"a_long_label_of_a_row", "b"}, columns{"a_longer_label_of_a_column", "v"};
  const std::vector<HeatMapPanel> panels(3, {"a name that is longer than the map is wide", {1, 1, 1, 1}});
  const auto svg = svg_of(heat_map_svg(panels, rows, columns, "t"));
  const int width = svg.get<int>("<xmlattr>.width"), height = svg.get<int>("<xmlattr>.height");
  for (const auto& [name, element] : svg) {
    const int x = element.get("<xmlattr>.x", 0), y = element.get("<xmlattr>.y", 0);
    const int letters = 7 * static_cast<int>(element.data().size());
    const bool to_the_left = element.get<std::string>("<xmlattr>.text-anchor", "") == "end";
    CHECK(x - (to_the_left ? letters : 0) >= 0);
    CHECK(x + (name == "rect" ? element.get<int>("<xmlattr>.width") : to_the_left ? 0 : letters) <= width);
    CHECK(y + element.get("<xmlattr>.height", 0) <= height);
  }
  const auto drawn = cells(svg);
  CHECK(drawn[4].x - 6 - 7 * 21 > drawn[1].x + 18);  // the second map's labels begin right of the first map
}

TEST_CASE("weights that are not as many as the labels are refused") {
  const std::vector<std::string> rows{"a"}, columns{"u", "v"};
  const std::vector<HeatMapPanel> panels{{"one", {1, 0, 0}}};
  CHECK_THROWS_WITH(heat_map_svg(panels, rows, columns, ""),
                    "calm::heat_map_svg: panel \"one\" has 3 weights, expected 1 rows times 2 columns");
}

namespace {

struct TwoHeads {
  static constexpr std::size_t extent = 2;
};
/// Two texts of three tokens; weights by number, the sink's 0.9.
AttentionWeights<float, TwoHeads> numbered() {
  AttentionWeights<float, TwoHeads> w;
  w.keys = decltype(w.keys)(Shape<Batch, TwoHeads, Time, Source>(2, 3, 3));
  for (std::size_t i = 0; i < w.keys.size(); ++i) w.keys.mutable_data()[i] = static_cast<float>(i + 1) / 1000;
  w.nothing = decltype(w.nothing)::full(Shape<Batch, TwoHeads, Time>(2, 3), 0.9f);
  w.has_sink = true;
  return w;
}

}  // namespace

TEST_CASE("the attention of one text: a map per head, or their mean, and a column for nothing") {
  const std::vector<std::string> rows{"b", "c"}, columns{"y", "z"};
  const auto each = svg_of(
      heat_map_svg(numbered(), rows, columns, "", {.text = 1, .first_query = 1, .first_key = 1, .mean = false}));
  const auto drawn = cells(each);
  REQUIRE(drawn.size() == 12);
  CHECK(drawn[0].title == "b reads y: 0.023");  // text 1, head 0, query 1, key 1: 18 + 3 + 1, counted from 1
  CHECK(drawn[2].title == "b reads (nothing): 0.900");
  CHECK(drawn[6].title == "b reads y: 0.032");  // head 1
  CHECK(has(texts(each), "head 1"));
  const auto mean = svg_of(
      heat_map_svg(numbered(), rows, columns, "", {.text = 1, .first_query = 1, .first_key = 1, .mean = true}));
  REQUIRE(cells(mean).size() == 6);
  CHECK((cells(mean)[0].title == "b reads y: 0.028" || cells(mean)[0].title == "b reads y: 0.027"));  // 0.0275
  CHECK(has(texts(mean), "mean over 2 heads"));
  CHECK_THROWS_WITH(heat_map_svg(numbered(), rows, columns, "", {.first_query = 2}), Catch::Contains("3 queries"));
  auto without = numbered();
  without.has_sink = false;
  CHECK(cells(svg_of(heat_map_svg(without, rows, columns, ""))).size() == 8);
}
