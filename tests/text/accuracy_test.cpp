#include "calm/text/accuracy.hpp"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;
using namespace calm::text;
using Catch::Contains;
using Strings = std::vector<std::string>;
using Tokens = std::vector<Index>;

TEST_CASE("exact match is of bytes, and of white space unless told otherwise") {
  const Strings hypotheses = {"42", " 42\n", "4 2", "e\u0301"}, references = {"42", "42", "42", "\u00e9"};
  CHECK(exact_match(hypotheses, references) == 0.25);
  CHECK(exact_match(hypotheses, references, {.strip = true}) == 0.5);
  CHECK(exact_match(Strings{"b", "c"}, std::vector<References>{{"a", "b"}, {"a"}}) == 0.5);
  CHECK_THROWS_WITH(exact_match(Strings{"a"}, Strings{}), Contains("exact_match: expected references for each of 1"));
}

TEST_CASE("accuracy leaves out positions without a target") {
  CHECK(accuracy(Tokens{1, 2, 3, 4}, Tokens{1, 2, 0, 0}) == 0.5);
  CHECK(accuracy(Tokens{1, 2, 3, 4}, Tokens{-1, 2, -1, 0}) == 0.5);
  CHECK_THROWS_WITH(accuracy(Tokens{1}, Tokens{1, 2}), Contains("each of 2 targets, found 1"));
  CHECK_THROWS_WITH(accuracy(Tokens{1}, Tokens{-1}), Contains("expected at least one target, found none among 1"));
}
