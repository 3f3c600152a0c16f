#include "tools/compose/report.hpp"

#include <vector>

#include <catch2/catch.hpp>

using namespace calm::programs;

TEST_CASE("scores as a table and as JSON") {
  const std::vector<Row> rows{{"anchor alone", "anchor", {257.49, 0.0}}, {"composed", "composed", {1.0466, 0.995}}};
  CHECK(table_of(rows) ==
        "held out          perplexity   exact match\n"
        "anchor alone           257.5         0.0 %\n"
        "composed               1.047        99.5 %\n");
  CHECK(json_of(rows).dump() == R"({"anchor":{"perplexity":257.49,"exact_match":0.0},)"
                                R"("composed":{"perplexity":1.0466,"exact_match":0.995}})");
  const std::vector<Row> texts{{"anchor alone", "anchor", {30.0, {}}}};
  CHECK(table_of(texts) ==
        "held out          perplexity\n"
        "anchor alone              30\n");
  CHECK(json_of(texts).dump() == R"({"anchor":{"perplexity":30.0}})");
}
