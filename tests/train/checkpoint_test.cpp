#include "calm/train/checkpoint.hpp"

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "io/full_disk.hpp"
#include "io/temporary_folder.hpp"
#include "train/small_runs.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using train::CheckpointFolder;
using train::FitOptions;
using Steps = std::vector<std::uint64_t>;

namespace {

void put(CheckpointFolder& folder, std::uint64_t step, const std::string& text) {
  folder.save(step, [&](const std::string& path) { put_contents(path + "/state", text); });
}

/// What `load_newest` finds, and what it said.
struct Found {
  std::optional<std::uint64_t> step;
  std::string text, warnings;
};
Found newest(const CheckpointFolder& folder) {
  Found found;
  found.step = folder.load_newest([](std::uint64_t) { return true; },
                                  [&](const std::string& path) {
                                    found.text = contents_of(path + "/state");
                                    if (found.text == "bad") throw Error("it is bad");
                                  },
                                  [&](const std::string& warning) { found.warnings += warning; });
  return found;
}

FitOptions saving(const TemporaryFolder& folder) {
  FitOptions options = twelve_steps();
  options.checkpoint = folder / "run";
  options.save_every = 4;
  return options;
}

}  // namespace

TEST_CASE("the newest checkpoint is found by its name, whatever else is there") {
  const TemporaryFolder temporary;
  CheckpointFolder folder(temporary / "a/b");
  CHECK(!newest(folder).step);
  for (const std::uint64_t step : {9u, 10u, 1'000'000u, 123u}) put(folder, step, std::to_string(step));
  put_contents(folder.path() + "/step-9999999x", "");
  put_contents(folder.path() + "/step-99", "");  // no name of six digits
  put_contents(folder.path() + "/notes", "");
  CHECK(folder.steps() == Steps{1'000'000, 123, 10, 9});
  CHECK(std::filesystem::exists(folder.path() + "/step-000123/state"));
  CHECK(newest(folder).step == 1'000'000u);
  CHECK(newest(folder).text == "1000000");
  put(folder, 1'000'000, "again");
  CHECK(newest(folder).text == "again");
}

TEST_CASE("a save that fails leaves nothing, and what a killed process left is removed") {
  const TemporaryFolder temporary;
  const std::string path = temporary / "run";
  {
    CheckpointFolder folder(path);
    put(folder, 5, "five");
    CHECK_THROWS_WITH(folder.save(6, [&](const std::string& fresh) {
      put_contents(fresh + "/state", "half");
      throw std::runtime_error("disk on fire");
    }), "disk on fire");
    CHECK(folder.steps() == Steps{5});
  }
  std::filesystem::create_directories(path + "/.step-000007.new/deep");
  put_contents(path + "/.step-000007.new/state", "half");
  std::filesystem::create_directories(path + "/.step-000004.old");
  const CheckpointFolder folder(path);
  CHECK(std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()) == 1);
  CHECK(newest(folder).text == "five");
}

TEST_CASE("damaged checkpoints are passed over with a word; if all are, that is an error") {
  const TemporaryFolder temporary;
  CheckpointFolder folder(temporary / "run");
  put(folder, 1, "bad");
  CHECK_THROWS_WITH(newest(folder), Contains("no whole checkpoint of this run") &&
                                        Contains("step-000001 is passed over: it is bad"));
  put(folder, 2, "good");
  put(folder, 3, "bad");
  const Found found = newest(folder);
  CHECK(found.step == 2u);
  CHECK(found.warnings == "calm::train: " + folder.path() + "/step-000003 is passed over: it is bad");
}

TEST_CASE("the newest regular checkpoints are kept, and an interrupted run's until the next") {
  const TemporaryFolder temporary;
  CheckpointFolder folder(temporary / "run");
  for (const std::uint64_t step : {0u, 10u, 13u, 20u, 30u, 33u, 36u, 37u}) put(folder, step, "");
  folder.prune(2, 10);
  CHECK(folder.steps() == Steps{37, 36, 30, 20});
  folder.prune(1, 0);
  CHECK(folder.steps() == Steps{37});
}

TEST_CASE("a file where the folder should be is refused") {
  const TemporaryFolder temporary;
  put_contents(temporary / "run", "a state of old");
  CHECK_THROWS_WITH(CheckpointFolder(temporary / "run"),
                    "calm::train: " + (temporary / "run") +
                        ": expected a folder of checkpoints, found a file; name a folder, or remove it");
}

TEST_CASE("a disk that is full at a save ends the run; the last save is whole, and the run goes on from it") {
  const TemporaryFolder folder;
  const auto straight = fresh<Composed>();
  test::fit(*straight, counting, twelve_steps());

  FitOptions options = saving(folder);
  std::unique_ptr<FileSizeLimit> limit;
  options.after_step = [&](std::size_t step, double) {
    if (step == 8) limit = std::make_unique<FileSizeLimit>(10'000);
  };
  CHECK_THROWS_WITH(test::fit(*fresh<Composed>(), counting, options),
                    Contains("/state.safetensors: cannot write (after 10000 bytes): File too large"));
  limit.reset();
  CHECK(CheckpointFolder(options.checkpoint).steps() == Steps{4, 0});
  std::size_t first = 0;
  options.after_step = [&](std::size_t step, double) { first = first ? first : step; };
  const auto resumed = fresh<Composed>();
  test::fit(*resumed, counting, options);
  CHECK(first == 5);
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
}

TEST_CASE("a run passes over checkpoints that were cut or altered, says so, and ends with the same bits") {
  const TemporaryFolder folder;
  FitOptions options = saving(folder);
  options.metrics = folder / "log.jsonl";
  options.log_every = 1;
  const auto straight = fresh<Composed>();
  test::fit(*straight, counting, options);
  const CheckpointFolder run(options.checkpoint);
  REQUIRE(run.steps() == Steps{12, 8, 4});
  const std::string newest = run.folder_of(12) + "/state.safetensors", older = run.folder_of(8) + "/state.safetensors";
  const std::string whole = contents_of(newest);
  put_contents(newest, whole.substr(0, whole.size() - 100));
  std::string altered = contents_of(older);
  altered[altered.size() - 100] ^= 4;
  put_contents(older, altered);

  std::vector<std::string> warnings;
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  const auto resumed = fresh<Composed>();
  test::fit(*resumed, counting, options);
  REQUIRE(warnings.size() == 2);
  CHECK_THAT(warnings[0], Contains("step-000012 is passed over: calm::io: " + newest));
  CHECK_THAT(warnings[1],
             Contains("step-000008 is passed over: calm::io: " + older + ": altered after it was written"));
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
  const auto lines = lines_of(options.metrics);  // each step once
  REQUIRE(lines.size() == 12);
  for (std::size_t i = 0; i < 12; ++i) CHECK(lines[i]["step"] == i + 1);
}

TEST_CASE("the checkpoints of another model are refused, and nothing is changed") {
  const TemporaryFolder folder;
  const FitOptions options = saving(folder);
  test::fit(*fresh<Composed>(), counting, options);
  const auto other = fresh<Trained>();
  const auto before = parameters_of(*other);
  CHECK_THROWS_WITH(test::fit(*other, counting, options),
                    Contains("no whole checkpoint of this run") && Contains("expected a tensor"));
  CHECK(same_bits(parameters_of(*other), before));
}

TEST_CASE("the log of a run that dies and goes on has each line once, and the numbers of a run that did not") {
  const TemporaryFolder folder;
  FitOptions options = twelve_steps();
  options.metrics = folder / "straight.jsonl";
  options.log_every = 3;
  test::fit(*fresh<Composed>(), counting, options);

  put_contents(folder / "log.jsonl", "{\"step\":0}\n");  // of another run; it stays
  options = saving(folder);
  options.metrics = folder / "log.jsonl";
  options.log_every = 3;
  for (const std::size_t last : {3u, 7u, 11u}) {
    options.after_step = [&](std::size_t step, double) {
      if (step == last) throw std::runtime_error("power cut");
    };
    CHECK_THROWS(test::fit(*fresh<Composed>(), counting, options));
  }
  options.after_step = {};
  test::fit(*fresh<Composed>(), counting, options);
  const auto lines = lines_of(options.metrics), expected = lines_of(folder / "straight.jsonl");
  REQUIRE(expected.size() == 4);
  REQUIRE(lines.size() == 5);
  for (std::size_t i = 0; i < 4; ++i) {
    for (const char* key : {"step", "loss", "lr", "grad_norm"}) CHECK(lines[i + 1][key] == expected[i][key]);
  }
}
