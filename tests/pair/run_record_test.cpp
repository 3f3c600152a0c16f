#include "tools/compose/run_record.hpp"

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"

using namespace calm;
using Catch::Contains;

TEST_CASE("a run goes on with what it was begun with and with nothing else") {
  const test::TemporaryFolder folder;
  test::put_contents(folder / "data.jsonl", "12");
  programs::ComposeSettings s;
  s.data = folder / "data.jsonl";
  const auto check = [&](const char* links) {
    programs::require_same_run(folder / "run.json", programs::run_record(s, links, "plain", "BF16"));
  };
  check("0:1");
  check("0:1");
  s.steps = 7;  // more steps are more of the same run
  check("0:1");
  CHECK_THROWS_WITH(check("0:2"), Contains("begun with another links: \"0:1\", now \"0:2\"") && Contains("--fresh"));
  s.learning_rate = 0.1;
  CHECK_THROWS_WITH(check("0:1"), Contains("another learning_rate: 0.001, now 0.1"));
  s.learning_rate = 0.001;
  check("0:1");
  s.random_augment = true;
  CHECK_THROWS_WITH(check("0:1"), Contains("another augment"));
  s.random_augment = false;
  test::put_contents(folder / "data.jsonl", "123");
  CHECK_THROWS_WITH(check("0:1"), Contains("another data_bytes: 2, now 3"));
}
