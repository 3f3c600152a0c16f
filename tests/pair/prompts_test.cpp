#include "tools/generate/prompts.hpp"

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"

using namespace calm;
using Catch::Contains;

TEST_CASE("each line of a file is a prompt") {
  const test::TemporaryFolder folder;
  const auto read = [&](const char* contents) {
    test::put_contents(folder / "x", contents);
    return programs::read_prompts(folder / "x");
  };
  CHECK(read("one\ntwo") == std::vector<std::string>{"one", "two"});
  CHECK(read("a\\nb\\\\n\\t\n") == std::vector<std::string>{"a\nb\\n\\t"});
  CHECK_THROWS_WITH(read("one\n\ntwo\n"), Contains("x:2: an empty prompt"));
  CHECK_THROWS_WITH(read(""), Contains("no line"));
  CHECK_THROWS_WITH(programs::read_prompts(folder / "y"), Contains("y: cannot be opened"));
}
