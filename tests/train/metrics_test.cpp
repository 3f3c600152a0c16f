#include "calm/train/metrics.hpp"

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include <catch2/catch.hpp>

#include "io/full_disk.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::test;
using train::Metrics;
using train::MetricsLog;

TEST_CASE("each line of the log is an object that reads back equal") {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  const Metrics first{12, 1.0 / 3, 3e-4, 1e-17, 45'321.7, 0.1};
  const Metrics second{~std::uint64_t{0}, std::numeric_limits<double>::quiet_NaN(), -1e-300,
                       std::numeric_limits<double>::infinity(), std::numeric_limits<double>::max(), 0};
  {
    MetricsLog log(path);
    log.write(first);
  }
  MetricsLog(path).write(second);  // appends

  std::istringstream lines(contents_of(path));
  std::string line;
  REQUIRE(std::getline(lines, line));
  auto json = nlohmann::json::parse(line);
  CHECK(json.size() == 6);
  CHECK(json["step"] == 12);
  CHECK(json["loss"].get<double>() == first.loss);
  CHECK(json["lr"].get<double>() == first.learning_rate);
  CHECK(json["grad_norm"].get<double>() == first.gradient_norm);
  CHECK(json["tokens_per_second"].get<double>() == first.tokens_per_second);
  CHECK(json["seconds"].get<double>() == first.seconds);
  REQUIRE(std::getline(lines, line));
  json = nlohmann::json::parse(line);
  CHECK(json["step"].get<std::uint64_t>() == second.step);
  CHECK(json["loss"].is_null());
  CHECK(json["grad_norm"].is_null());
  CHECK(json["tokens_per_second"].get<double>() == second.tokens_per_second);
  CHECK(!std::getline(lines, line));
}

TEST_CASE("after a line that was cut off, the log goes on with a line of its own") {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  put_contents(path, "{\"step\":1}\n{\"st");
  MetricsLog(path).write({.step = 2});
  CHECK_THAT(contents_of(path), Catch::StartsWith("{\"step\":1}\n{\"st\n{\"step\":2,"));
}

TEST_CASE("a full disk leaves whole lines and says so") {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  MetricsLog log(path);
  log.write({.step = 1});
  const std::string before = contents_of(path);
  {
    const FileSizeLimit limit(before.size() + 10);
    CHECK_THROWS_WITH(log.write({.step = 2}), Catch::Contains(path + ": cannot write"));
  }
  CHECK(contents_of(path) == before);
  CHECK_THROWS_WITH(MetricsLog(folder / "none/log"), Catch::Contains("none/log: cannot open the metrics log"));
}

TEST_CASE("evaluations and events have lines of their own, and lines behind a position can be dropped") {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  MetricsLog log(path);
  log.write_evaluation({7, 0.5, 0.25, 3});
  const auto position = log.position();
  CHECK(position == contents_of(path).size());
  log.write_event(8, "a \"quoted\" \\ word\n");
  auto json = nlohmann::json::parse(contents_of(path).substr(position));
  CHECK(json["step"] == 8);
  CHECK(json["event"] == "a _quoted_ _ word_");
  log.cut(position);
  log.cut(position + 1000);  // nothing is there
  CHECK(contents_of(path) == "{\"step\":7,\"eval_loss\":0.5,\"best\":0.25,\"best_step\":3}\n");
  log.write({.step = 9});
  CHECK(contents_of(path).substr(position).starts_with("{\"step\":9,"));
}
