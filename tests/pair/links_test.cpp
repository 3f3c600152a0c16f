#include "tools/compose/links.hpp"

#include <string>

#include <catch2/catch.hpp>

#include "calm/compose/layer_map.hpp"

using namespace calm::programs;
using Catch::Contains;

namespace {

struct Deep {
  static constexpr std::size_t depth = 26;
};
struct Shallow {
  static constexpr std::size_t depth = 12;
};

template <class Map>
std::string text_of() {
  std::vector<LinkPair> links;
  for (std::size_t i = 0; i < Map::size; ++i) links.emplace_back(Map::source[i], Map::target[i]);
  return links_text(links);
}

std::string parsed(const std::string& text, std::size_t augment, std::size_t anchor) {
  return links_text(parse_links(text, augment, anchor));
}

}  // namespace

TEST_CASE("links on a command line are those of the types") {
  CHECK(parsed("auto", 12, 26) == text_of<calm::EveryNth<Deep, Shallow>>());
  CHECK(parsed("auto", 26, 12) == text_of<calm::EveryNth<Shallow, Deep>>());
  CHECK(parsed("5", 12, 26) == text_of<calm::Uniform<Deep, Shallow, 5>>());
  CHECK(parsed("auto", 3, 5) == "0:0,1:2,2:4");  // every fourth layer would be one link
  CHECK(parsed("auto", 2, 40) == "0:19,1:39");
  CHECK(parsed("auto", 1, 1) == "0:0");
}

TEST_CASE("pairs of layers may come in any order") {
  CHECK(parsed("2:4,0:1", 3, 5) == "0:1,2:4");
  CHECK(parsed("2>4,0:4,1:0", 3, 5) == "1:0,0:4,2:4");
}

TEST_CASE("links that cannot be are refused in one sentence") {
  const auto check = [](const char* text, const char* what) {
    CHECK_THROWS_WITH(parse_links(text, 3, 5), Contains(std::string("--links ") + text + ": ") && Contains(what));
  };
  check("3:0", "the augment has no layer 3");
  check("0:5", "the anchor has no layer 5; its 5 layers are numbered from 0");
  check("4", "expected 1 to 3 links");
  check("0", "expected 1 to 3 links");
  check("0:1,2:4,0:1", "twice");
  for (const char* text : {"", "some", "1:", ":1", "1:2,", "1:2:3", "-1:0", "1.5", "1:2 ,2:3", "99999999999999999999"})
    check(text, "expected auto");
}
