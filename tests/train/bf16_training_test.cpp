// Compositions of bf16 bases: the bridges are bf16, too, their masters in the optimizer (train/adamw.hpp) fp32.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/train/fit.hpp"
#include "compose/models.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using train::Example;
using train::FitOptions;

/// Counts up by one or by two from anywhere; the first two tokens say which.
void counting(std::uint64_t i, Example& out) {
  const std::uint32_t first = random_below({4, 0}, i, 16), step = 1 + random_below({4, 1}, i, 2);
  out.tokens.resize(3 + random_below({4, 2}, i, 7));
  for (std::size_t t = 0; t < out.tokens.size(); ++t) out.tokens[t] = static_cast<Index>((first + step * t) % 16);
  out.prompt = 2;
}

/// The loss of every step.
template <class T>
std::vector<double> losses_of(FitOptions options) {
  const auto m = make_small<Small<T>>(false);
  std::vector<double> losses;
  options.after_step = [&](std::size_t, double loss) { losses.push_back(loss); };
  train::fit(*m, counting, options);
  return losses;
}
double mean(const std::vector<double>& x, std::size_t first, std::size_t count) {
  double sum = 0;
  for (std::size_t i = first; i < first + count; ++i) sum += x[i];
  return sum / static_cast<double>(count);
}

std::vector<std::uint16_t> bits_of(Small<bf16>& model) {
  std::vector<std::uint16_t> bits;
  nn::for_each_trainable(model, [&](const std::string&, auto& p) {
    for (std::size_t i = 0; i < p.value().size(); ++i) bits.push_back(p.value()[i].bits);
  });
  return bits;
}

}  // namespace

TEST_CASE("a composition in bf16 learns as it does in fp32") {
  // Were the updates rounded to bf16 as they come, the loss would end a fifth too high.
  const FitOptions options{.steps = 300, .batch_size = 16, .learning_rate = 3e-3, .warmup_steps = 10,
                           .progress = false};
  const auto wide = losses_of<float>(options), narrow = losses_of<bf16>(options);
  CAPTURE(mean(wide, 0, 20), mean(narrow, 0, 20), mean(wide, 280, 20), mean(narrow, 280, 20));
  CHECK(mean(wide, 280, 20) < 0.5 * mean(wide, 0, 20));
  for (std::size_t at = 0; at < 300; at += 20) {
    CHECK(mean(narrow, at, 20) == Approx(mean(wide, at, 20)).epsilon(0.05));
  }
}

TEST_CASE("an interrupted run in bf16 that is resumed ends as one that was not, bit for bit") {
  const TemporaryFolder folder;
  FitOptions options{.steps = 12, .batch_size = 4, .learning_rate = 1e-3, .warmup_steps = 3, .progress = false};
  const auto straight = make_small<Small<bf16>>(false), stopped = make_small<Small<bf16>>(false),
             resumed = make_small<Small<bf16>>(false);
  train::fit(*straight, counting, options);
  options.checkpoint = folder / "state";
  std::size_t asked = 0;
  options.interrupted = [&] { return ++asked == 5; };
  CHECK(!train::fit(*stopped, counting, options).finished);
  options.interrupted = {};
  CHECK(train::fit(*resumed, counting, options).finished);
  CHECK((bits_of(*resumed) == bits_of(*straight)));
  CHECK((bits_of(*stopped) != bits_of(*straight)));
}
