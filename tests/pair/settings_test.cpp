#include "tools/compose/settings.hpp"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;
using Catch::Contains;

namespace {

programs::ComposeSettings settings_of(const std::string& arguments) {
  CLI::App app;
  programs::ComposeSettings settings;
  programs::add_options(app, settings);
  app.parse("anchor augment " + arguments);
  return settings;
}

}  // namespace

TEST_CASE("prompts, stops and end tokens may be given several times, each with one value") {
  const auto s = settings_of("--generate one --stop . --generate two --stop , --end-token 3 --end-token 4");
  CHECK(s.prompts == std::vector<std::string>{"one", "two"});
  CHECK(s.generate.stops == std::vector<std::string>{".", ","});
  CHECK(s.generate.ends == std::vector<Index>{3, 4});
  CHECK_THROWS_WITH(settings_of("--generate one two"), Contains("not expected"));
}

TEST_CASE("a count below 0, or of nothing where something is counted, is refused by its name") {
  CHECK_THROWS_WITH(settings_of("--steps -3"), Contains("--steps: expected no number below 0, found -3"));
  CHECK_THROWS_WITH(settings_of("--max-new-tokens -1"), Contains("--max-new-tokens: expected no number below 0"));
  CHECK_THROWS_WITH(settings_of("--batch 0"), Contains("--batch: expected a number above 0, found 0"));
  CHECK(settings_of("--steps 0").steps == 0);
}
