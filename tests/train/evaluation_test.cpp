#include "calm/train/evaluation.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"
#include "train/small_runs.hpp"

using namespace calm;
using namespace calm::test;
using train::FitOptions;

namespace {

/// A run whose evaluations say, in their order, what the test wants; every two steps.
FitOptions told(std::vector<double> results, std::size_t& at) {
  FitOptions options = twelve_steps();
  options.evaluate_every = 2;
  options.evaluate = [results = std::move(results), &at] { return results.at(at++); };
  options.keep_best = true;
  return options;
}

/// The parameters after so many steps.
std::vector<float> after(std::size_t steps) {
  const auto m = fresh<Composed>();
  FitOptions options = twelve_steps();
  options.interrupted = [&, done = std::size_t{0}]() mutable { return ++done == steps; };
  test::fit(*m, counting, options);
  return parameters_of(*m);
}

}  // namespace

TEST_CASE("mean_loss is the mean over all targets, whatever the batches, and records nothing") {
  const auto m = make_small<Small<double>>(true);
  double sum = 0;
  std::size_t targets = 0;
  for (std::uint64_t i = 0; i < 11; ++i) {
    train::Example e;
    counting(i, e);
    const std::span<const train::Example> one(&e, 1);
    const std::size_t n = train::target_count(one);
    sum += static_cast<double>(n) * value(train::CollatedLoss{}(*m, one))[0];
    targets += n;
  }
  const double expected = sum / static_cast<double>(targets);
  for (const std::size_t batch_size : {1u, 4u, 11u, 64u})
    CHECK(train::mean_loss(*m, counting, 11, batch_size) == Approx(expected).epsilon(1e-12));
  CHECK(Tape<Cpu>::active() == nullptr);
  CHECK_THROWS_WITH(train::mean_loss(*m, counting, 0), Catch::Contains("no examples"));
}

TEST_CASE("the parameters of the best evaluation are there at the end") {
  std::size_t at = 0;
  const auto m = fresh<Composed>();
  const auto result = test::fit(*m, counting, told({5, 3, 4, 3, std::nan(""), 6}, at));
  CHECK(at == 6);
  CHECK(result.best == 3);
  CHECK(result.best_step == 4);  // an equal one is no better
  CHECK(result.finished);
  CHECK(!result.stopped_early);
  CHECK(same_bits(parameters_of(*m), after(4)));
}

TEST_CASE("a run out of patience stops") {
  std::size_t at = 0;
  FitOptions options = told({5, 3, 4, 4, 1}, at);
  options.patience = 2;
  options.keep_best = false;
  const auto m = fresh<Composed>();
  const auto result = test::fit(*m, counting, options);
  CHECK(result.steps == 8);
  CHECK(result.finished);
  CHECK(result.stopped_early);
  CHECK(same_bits(parameters_of(*m), after(8)));
}

TEST_CASE("the last step is evaluated, and evaluations stand in the log") {
  const TemporaryFolder folder;
  FitOptions options = twelve_steps();
  const auto m = fresh<Composed>();
  options.evaluate = [&] { return train::mean_loss(*m, counting, 20); };
  options.evaluate_every = 5;
  options.metrics = folder / "log.jsonl";
  options.log_every = 12;
  const auto result = test::fit(*m, counting, options);
  const auto lines = lines_of(options.metrics);
  REQUIRE(lines.size() == 4);
  const std::size_t order[] = {0, 1, 3}, steps[] = {5, 10, 12};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(lines[order[i]]["step"] == steps[i]);
    CHECK(lines[order[i]]["eval_loss"].get<double>() > 0);
  }
  CHECK(lines[3]["eval_loss"] == train::mean_loss(*m, counting, 20));
  CHECK(lines[3]["best"] == result.best);
  CHECK(lines[3]["best_step"] == result.best_step);
}

TEST_CASE("a run that dies remembers its evaluations and its best parameters") {
  const TemporaryFolder folder;
  const std::vector<double> results{5, 3, 4, 6, 7, 1};
  std::size_t at = 0;
  FitOptions options = told(results, at);
  options.patience = 3;
  options.checkpoint = folder / "run";
  options.save_every = 3;
  options.after_step = [&](std::size_t step, double) {
    if (step == 7) throw std::runtime_error("power cut");
  };
  CHECK_THROWS(test::fit(*fresh<Composed>(), counting, options));
  CHECK(at == 3);
  options.after_step = {};
  const auto m = fresh<Composed>();
  const auto result = test::fit(*m, counting, options);  // from step 6 on, whose evaluation is done
  CHECK(at == 5);
  CHECK(result.steps == 10);
  CHECK(result.stopped_early);
  CHECK(result.best == 3);
  CHECK(result.best_step == 4);
  CHECK(same_bits(parameters_of(*m), after(4)));

  const auto again = fresh<Composed>();  // the same call on a finished run ends where it did, from step 9
  at = 4;
  CHECK(test::fit(*again, counting, options).steps == 10);
  CHECK(same_bits(parameters_of(*again), after(4)));
}

TEST_CASE("patience without evaluations is a mistake") {
  FitOptions options = twelve_steps();
  options.patience = 1;
  CHECK_THROWS_WITH(test::fit(*fresh<Composed>(), counting, options), Catch::Contains("need a function to evaluate"));
}
