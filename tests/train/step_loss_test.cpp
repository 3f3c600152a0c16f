#include "calm/train/step_loss.hpp"

#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

#include "train/small_runs.hpp"

using namespace calm;
using namespace calm::test;
using train::Example;

namespace {

std::vector<double> gradients_of(Small<double>& m) {
  std::vector<double> all;
  nn::for_each_trainable(m, [&](const std::string&, auto& p) {
    REQUIRE(p.gradient() != nullptr);
    all.insert(all.end(), p.gradient(), p.gradient() + p.value().size());
    p.zero_gradient();
  });
  return all;
}

}  // namespace

TEST_CASE("a step in parts has the loss and the gradients of the whole, however unequal the parts") {
  const auto m = make_small<Small<double>>(true);
  std::vector<Example> examples(7);
  for (std::size_t i = 0; i < 7; ++i) counting(i, examples[i]);
  examples[2].labels.assign(examples[2].tokens.size(), ignored_target);  // a part without a target
  examples[5].tokens.resize(30, 3);                                      // and one with most of them
  CHECK(train::target_count(std::span(examples).subspan(2, 1)) == 0);
  CHECK(train::target_count(std::span(examples).subspan(5, 1)) == 28);

  Tape<Cpu> tape;
  train::CollatedLoss loss;
  const auto whole = train::detail::accumulate_gradients(*m, tape, loss, examples, 1);
  const auto expected = gradients_of(*m);
  double largest = 0;
  for (const double g : expected) largest = std::max(largest, std::abs(g));
  REQUIRE(largest > 1e-3);
  for (const std::size_t pieces : {2u, 3u, 7u}) {
    const auto parts = train::detail::accumulate_gradients(*m, tape, loss, examples, pieces);
    CHECK(parts.loss == Approx(whole.loss).epsilon(1e-13));
    const auto found = gradients_of(*m);
    double difference = 0;
    for (std::size_t i = 0; i < found.size(); ++i) difference = std::max(difference, std::abs(found[i] - expected[i]));
    CHECK(difference < 1e-13 * largest);
  }
}

TEST_CASE("a run in parts goes as one in whole batches") {
  const auto whole = fresh<Composed>(), parts = fresh<Composed>();
  train::FitOptions options = twelve_steps();
  options.clip_norm = 0.1;  // reached
  const double expected = test::fit(*whole, counting, options).loss;
  options.accumulate = 3;  // of 1, 1 and 2 examples
  options.longest = 9;
  CHECK(test::fit(*parts, counting, options).loss == Approx(expected).epsilon(1e-5));
  const auto a = parameters_of(*whole), b = parameters_of(*parts);
  for (std::size_t i = 0; i < a.size(); ++i) REQUIRE(std::abs(a[i] - b[i]) < 1e-3);
}
