#include "calm/train/non_finite.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"
#include "train/small_runs.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using train::FitOptions;
using train::NonFinite;

namespace {

/// Examples of batches of four; while a step of `bad` is read, the anchor's final norm has a NaN.
Stream poisoned(Composed& m, std::vector<std::uint64_t> bad) {
  const auto healthy = m.anchor.norm.weight.value();
  auto ill = healthy.clone();
  ill.mutable_data()[0] = std::numeric_limits<float>::quiet_NaN();
  return [&m, bad = std::move(bad), healthy, ill](std::uint64_t i, train::Example& out) {
    counting(i, out);
    const bool is_bad = std::find(bad.begin(), bad.end(), i / 4) != bad.end();
    m.anchor.norm.weight.assign(is_bad ? ill : healthy);
  };
}

FitOptions with(NonFinite policy) {
  FitOptions options = twelve_steps();
  options.non_finite = policy;
  return options;
}

}  // namespace

TEST_CASE("a loss that is no number ends a run, and is named with a parameter") {
  const auto m = fresh<Composed>();
  std::size_t last = 0;
  FitOptions options = with(NonFinite::stop);
  options.after_step = [&](std::size_t step, double) { last = step; };
  CHECK_THROWS_WITH(test::fit(*m, poisoned(*m, {5}), options),
                    Contains("calm::train::fit: step 6: the loss is nan and the gradient of parameter bridges.0.") &&
                        Contains(" is not finite after 5 updates; lower the learning rate, or set non_finite"));
  CHECK(last == 5);
}

TEST_CASE("a skipped step changes nothing but the count, and is told") {
  const TemporaryFolder folder;
  const auto m = fresh<Composed>();
  FitOptions options = with(NonFinite::skip);
  options.metrics = folder / "log.jsonl";
  options.log_every = 6;
  std::vector<std::vector<float>> after;
  options.after_step = [&](std::size_t, double) { after.push_back(parameters_of(*m)); };
  std::string told;
  options.warn = [&](const std::string& text) { told += text; };
  const auto result = test::fit(*m, poisoned(*m, {5, 8}), options);
  CHECK(result.steps == 12);
  CHECK(result.skipped == 2);
  REQUIRE(after.size() == 12);
  for (std::size_t step = 1; step < 12; ++step)
    CHECK(same_bits(after[step], after[step - 1]) == (step == 5 || step == 8));
  CHECK_THAT(told, Contains("skipped step 6: the loss is nan") && Contains("skipped step 9: the loss is nan"));
  const auto lines = lines_of(options.metrics);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0]["step"] == 6);
  CHECK_THAT(lines[0]["event"].get<std::string>(), Contains("skipped step 6: the loss is nan and the gradient of"));
  CHECK(lines[1]["loss"].get<double>() > 0);  // the mean of the five that count
  CHECK(lines[1]["grad_norm"].is_null());
}

TEST_CASE("too many skipped steps in a row end the run; others between them begin the count anew") {
  const auto m = fresh<Composed>();
  FitOptions options = with(NonFinite::skip);
  options.non_finite_limit = 2;
  CHECK(test::fit(*m, poisoned(*m, {2, 3, 5, 6, 8}), options).skipped == 5);
  CHECK_THROWS_WITH(test::fit(*m, poisoned(*m, {2, 3, 4}), options),
                    Contains("step 5: ") && Contains("and before it 2 skipped steps in a row"));
}

TEST_CASE("a roll-back goes on from the last checkpoint before, without the batch and with a lower rate") {
  const TemporaryFolder folder;
  const auto m = fresh<Composed>();
  FitOptions options = with(NonFinite::roll_back);
  options.checkpoint = folder / "run";
  options.save_every = 4;
  options.metrics = folder / "log.jsonl";
  options.log_every = 1;
  options.roll_back_rate = 0.25;
  std::vector<std::size_t> steps;
  std::vector<float> at_four;
  options.after_step = [&](std::size_t step, double) {
    steps.push_back(step);
    if (step == 4 && at_four.empty()) at_four = parameters_of(*m);
  };
  const auto result = test::fit(*m, poisoned(*m, {6}), options);
  CHECK(result.roll_backs == 1);
  CHECK(result.skipped == 1);
  CHECK(steps == std::vector<std::size_t>{1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9, 10, 11, 12});
  std::vector<std::size_t> logged;
  for (const auto& line : lines_of(options.metrics)) {
    if (line.contains("event")) {
      CHECK_THAT(line["event"].get<std::string>(), Contains("rolled back to step 4 from step 7: the loss is nan"));
      CHECK(logged.size() == 4);
      continue;
    }
    logged.push_back(line["step"].get<std::size_t>());
    const double factor = logged.back() > 4 ? 0.25 : 1;
    const train::Schedule rate{train::Decay::cosine, 1e-2, 3, 12, 0.1};
    CHECK(line["lr"].get<double>() == factor * rate(logged.back() - 1));
  }
  CHECK(logged == std::vector<std::size_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
}

TEST_CASE("runs that fall, roll back and are killed end with the same bits as those that are not killed") {
  const std::vector<std::uint64_t> bad{0, 4, 6, 7};  // the first step, one at a checkpoint, two between checkpoints
  const TemporaryFolder folder;
  FitOptions options = with(NonFinite::roll_back);
  options.save_every = 4;
  options.checkpoint = folder / "straight";
  const auto straight = fresh<Composed>();
  CHECK(test::fit(*straight, poisoned(*straight, bad), options).roll_backs == 4);

  options.checkpoint = folder / "killed";
  std::size_t runs = 0;
  bool finished = false;
  for (const std::size_t calls : {1u, 3u, 5u, 6u, 9u, 12u, 50u}) {  // of after_step, then it dies or is stopped
    const auto m = fresh<Composed>();
    std::size_t left = calls;
    options.after_step = [&](std::size_t, double) {
      if (--left == 0 && calls % 2 == 1) throw std::runtime_error("power cut");
    };
    options.interrupted = [&] { return left == 0; };
    ++runs;
    try {
      if (!test::fit(*m, poisoned(*m, bad), options).finished) continue;
    } catch (const std::runtime_error& e) {
      REQUIRE(std::string(e.what()) == "power cut");
      continue;
    }
    CHECK(same_bits(parameters_of(*m), parameters_of(*straight)));
    finished = true;
    break;
  }
  CHECK(finished);
  CHECK(runs > 4);
}

TEST_CASE("roll-backs end: after the limit, and where there is nothing to roll back to") {
  const TemporaryFolder folder;
  const auto m = fresh<Composed>();
  FitOptions options = with(NonFinite::roll_back);
  CHECK_THROWS_WITH(test::fit(*m, poisoned(*m, {1}), options), Contains("needs a checkpoint folder"));
  options.checkpoint = folder / "run";
  options.save_every = 2;
  options.non_finite_limit = 2;
  CHECK_THROWS_WITH(test::fit(*m, poisoned(*m, {1, 2, 3, 4}), options),
                    Contains("and before it 2 steps that were rolled back"));
}
