#include "calm/train/fit.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/train/adafactor.hpp"
#include "io/temporary_folder.hpp"
#include "train/small_runs.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using train::Example;
using train::FitOptions;

train::FitResult test::fit(Composed& model, const Stream& stream, const FitOptions& options) {
  return train::fit(model, stream, options);
}
train::FitResult test::fit(Trained& model, const Stream& stream, const FitOptions& options) {
  return train::fit(model, stream, options);
}

TEMPLATE_TEST_CASE("a tiny task is learnt", "", Trained, Composed) {
  const auto m = fresh<TestType>();
  double first = 0, last = 0;
  std::size_t calls = 0;
  FitOptions options = twelve_steps();
  options.steps = 200;
  options.batch_size = 16;
  options.after_step = [&](std::size_t step, double loss) {
    CHECK(step == ++calls);
    if (step == 1) first = loss;
    last = loss;
  };
  const auto result = test::fit(*m, counting, options);
  CHECK(result.finished);
  CHECK(result.steps == 200);
  CHECK(calls == 200);
  CHECK(first > 2);  // about ln 16
  CHECK(last < 0.5 * first);
  CHECK(result.loss < 0.5 * first);
}

TEST_CASE("the log has a line per interval and one at the end") {
  const TemporaryFolder folder;
  const auto m = fresh<Composed>();
  FitOptions options = twelve_steps();
  options.metrics = folder / "log.jsonl";
  options.log_every = 5;
  std::vector<double> losses;
  options.after_step = [&](std::size_t, double loss) { losses.push_back(loss); };
  test::fit(*m, counting, options);
  const auto lines = lines_of(options.metrics);
  REQUIRE(lines.size() == 3);
  const std::size_t ends[] = {0, 5, 10, 12};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(lines[i]["step"] == ends[i + 1]);
    double sum = 0;
    for (std::size_t s = ends[i]; s < ends[i + 1]; ++s) sum += losses[s];
    CHECK(lines[i]["loss"].get<double>() == Approx(sum / static_cast<double>(ends[i + 1] - ends[i])));
    CHECK(lines[i]["lr"].get<double>() == train::Schedule{train::Decay::cosine, 1e-2, 3, 12, 0.1}(ends[i + 1] - 1));
    CHECK(lines[i]["grad_norm"].get<double>() > 0);
    CHECK(lines[i]["tokens_per_second"].get<double>() > 0);
  }
}

TEST_CASE("the learning rate falls as the options say") {
  const TemporaryFolder folder;
  FitOptions options = twelve_steps();
  options.metrics = folder / "log.jsonl";
  options.log_every = 1;
  options.decay = train::Decay::linear;
  test::fit(*fresh<Composed>(), counting, options);
  const auto lines = lines_of(options.metrics);
  REQUIRE(lines.size() == 12);
  for (std::size_t i = 0; i < 12; ++i)
    CHECK(lines[i]["lr"].get<double>() == train::Schedule{train::Decay::linear, 1e-2, 3, 12, 0.1}(i));
}

TEST_CASE("groups are trained in their own way, and any optimizer will do") {
  FitOptions options = twelve_steps();
  options.groups = {{.contains = train::path_has("bridges.1"), .rate_factor = 0, .weight_decay = 0}};
  const auto m = fresh<Composed>(), start = fresh<Composed>();
  test::fit(*m, counting, options);
  CHECK(same_bits(parameters_of(m->bridges[1]), parameters_of(start->bridges[1])));
  CHECK(!same_bits(parameters_of(m->bridges[0]), parameters_of(start->bridges[0])));

  const auto other = fresh<Composed>();
  train::Adafactor optimizer(*other, {.relative_step = false});
  double first = 0, last = 0;
  options.steps = 100;
  options.batch_size = 16;
  options.after_step = [&](std::size_t step, double loss) { (step == 1 ? first : last) = loss; };
  train::fit(*other, Stream(counting), options, optimizer);
  CHECK(optimizer.updates() == 100);
  CHECK(last < 0.7 * first);
}

TEMPLATE_TEST_CASE("an interrupted run that is resumed ends as one that was not, bit for bit", "", Trained, Composed) {
  const TemporaryFolder folder;
  const auto straight = fresh<TestType>();
  test::fit(*straight, counting, twelve_steps());

  FitOptions options = twelve_steps();
  options.checkpoint = folder / "run";
  std::size_t asked = 0;
  options.interrupted = [&] { return ++asked == 5; };
  const auto stopped = fresh<TestType>();
  const auto half = test::fit(*stopped, counting, options);
  CHECK(!half.finished);
  CHECK(half.steps == 5);

  options.interrupted = {};
  const auto resumed = fresh<TestType>();
  std::size_t first = 0;
  options.after_step = [&](std::size_t step, double) { first = first ? first : step; };
  const auto rest = test::fit(*resumed, counting, options);
  CHECK(first == 6);
  CHECK(rest.finished);
  CHECK(rest.steps == 12);
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
  CHECK(!same_bits(parameters_of(*stopped), parameters_of(*straight)));
}

TEST_CASE("a run that dies goes on from its last save, bit for bit") {
  const TemporaryFolder folder;
  const auto straight = fresh<Composed>();
  test::fit(*straight, counting, twelve_steps());

  FitOptions options = twelve_steps();
  options.checkpoint = folder / "run";
  options.save_every = 4;
  options.after_step = [](std::size_t step, double) {
    if (step == 7) throw std::runtime_error("power cut");
  };
  CHECK_THROWS_WITH(test::fit(*fresh<Composed>(), counting, options), "power cut");
  options.after_step = {};
  const auto resumed = fresh<Composed>();
  test::fit(*resumed, counting, options);
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
}

TEST_CASE("a gradient that is not finite is named, nothing is changed, and the next run is free of it") {
  const auto m = fresh<Trained>(), clean = fresh<Trained>();
  auto& weight = m->layers[3].mlp.down_proj.weight;
  const float healthy = weight.value()[7];
  weight.mutable_value().mutable_data()[7] = std::numeric_limits<float>::infinity();
  const auto before = parameters_of(*m);
  CHECK_THROWS_WITH(test::fit(*m, counting, twelve_steps()),
                    Contains("step 1: the loss is ") && Contains(" and the gradient of parameter ") &&
                        Contains(" is not finite after 0 updates"));
  CHECK(same_bits(parameters_of(*m), before));

  weight.mutable_value().mutable_data()[7] = healthy;
  test::fit(*m, counting, twelve_steps());
  test::fit(*clean, counting, twelve_steps());
  CHECK(same_bits(parameters_of(*m), parameters_of(*clean)));
}

TEST_CASE("batches that teach nothing are refused, with what was expected and what was found") {
  const auto m = fresh<Composed>();
  const auto before = parameters_of(*m);
  FitOptions options = twelve_steps();
  options.accumulate = 5;
  CHECK_THROWS_WITH(test::fit(*m, counting, options), Contains("at most batch_size parts"));
  options.accumulate = 1;
  options.batch_size = 0;
  CHECK_THROWS_WITH(test::fit(*m, counting, options),
                    "calm::train::collate: an empty batch; expected at least one example");
  options.batch_size = 3;
  const auto fit_on = [&](const Example& second) {
    test::fit(*m, [&](std::uint64_t i, Example& out) { i % 3 == 1 ? void(out = second) : counting(i, out); }, options);
  };
  CHECK_THROWS_WITH(fit_on({{5}, 0, {}}), Contains("example 1 has 1 tokens") && Contains("at least 2 tokens"));
  CHECK_THROWS_WITH(fit_on({{5, 6}, 2, {}}), Contains("a prompt of 2") && Contains("one after the prompt"));
  CHECK_THROWS_WITH(fit_on({{5, 6}, 1, {3}}), Contains("1 labels") && Contains("as many labels as tokens"));
  CHECK_THROWS_WITH(fit_on({{5, 16, 2}, 1, {}}), Contains("token 16 at [1, 1] is outside the vocabulary of 16"));
  CHECK_THROWS_WITH(fit_on({{5, 6, 16}, 1, {}}), Contains("is token 16, outside the vocabulary of 16"));
  CHECK_THROWS_WITH(fit_on({std::vector<Index>(34, 1), 1, {}}),
                    Contains("a text in row 0 reaches position 32, the model's context is 32 tokens"));
  CHECK(same_bits(parameters_of(*m), before));
}
