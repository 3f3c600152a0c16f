#include "calm/train/fit.hpp"

#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "io/full_disk.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using train::Example;
using train::FitOptions;

using Composed = Small<float>;
using Trained = nn::Transformer<AnchorSpec, float, Cpu, Trainable>;

template <class Model>
std::unique_ptr<Model> fresh(std::uint64_t seed = 1) {
  if constexpr (std::is_same_v<Model, Trained>) {
    auto m = std::make_unique<Model>();
    nn::initialise(*m, {.seed = seed});
    return m;
  } else {
    return make_small<Model>(false, seed);
  }
}

/// Counts up by one or by two from anywhere, in texts of 3 to 9 tokens; the first two tokens are the prompt.
void counting(std::uint64_t i, Example& out) {
  const std::uint32_t first = random_below({4, 0}, i, 16), step = 1 + random_below({4, 1}, i, 2);
  out.tokens.resize(3 + random_below({4, 2}, i, 7));
  for (std::size_t t = 0; t < out.tokens.size(); ++t) out.tokens[t] = static_cast<Index>((first + step * t) % 16);
  out.prompt = 2;
}

FitOptions twelve_steps() {
  return {.steps = 12, .batch_size = 4, .learning_rate = 1e-2, .warmup_steps = 3, .progress = false};
}

/// Every trainable parameter of a model, end to end.
template <class Model>
std::vector<float> parameters_of(Model& model) {
  std::vector<float> all;
  nn::for_each_trainable(model, [&](const std::string&, auto& p) {
    all.insert(all.end(), p.value().data(), p.value().data() + p.value().size());
  });
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<nlohmann::json> lines_of(const std::string& path) {
  std::istringstream in(contents_of(path));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace

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
  const auto result = train::fit(*m, counting, options);
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
  train::fit(*m, counting, options);
  const auto lines = lines_of(options.metrics);
  REQUIRE(lines.size() == 3);
  const std::size_t ends[] = {0, 5, 10, 12};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(lines[i]["step"] == ends[i + 1]);
    double sum = 0;
    for (std::size_t s = ends[i]; s < ends[i + 1]; ++s) sum += losses[s];
    CHECK(lines[i]["loss"].get<double>() == Approx(sum / static_cast<double>(ends[i + 1] - ends[i])));
    CHECK(lines[i]["lr"].get<double>() == train::warmup_cosine(ends[i + 1] - 1, 3, 12, 1e-2, 0.1));
    CHECK(lines[i]["grad_norm"].get<double>() > 0);
    CHECK(lines[i]["tokens_per_second"].get<double>() > 0);
  }
}

TEMPLATE_TEST_CASE("an interrupted run that is resumed ends as one that was not, bit for bit", "", Trained, Composed) {
  const TemporaryFolder folder;
  const auto straight = fresh<TestType>();
  train::fit(*straight, counting, twelve_steps());

  FitOptions options = twelve_steps();
  options.checkpoint = folder / "state.safetensors";
  std::size_t asked = 0;
  options.interrupted = [&] { return ++asked == 5; };
  const auto stopped = fresh<TestType>();
  const auto half = train::fit(*stopped, counting, options);
  CHECK(!half.finished);
  CHECK(half.steps == 5);

  options.interrupted = {};
  const auto resumed = fresh<TestType>();
  std::size_t first = 0;
  options.after_step = [&](std::size_t step, double) { first = first ? first : step; };
  const auto rest = train::fit(*resumed, counting, options);
  CHECK(first == 6);
  CHECK(rest.finished);
  CHECK(rest.steps == 12);
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
  CHECK(!same_bits(parameters_of(*stopped), parameters_of(*straight)));
}

TEST_CASE("a run that dies goes on from its last save, bit for bit") {
  const TemporaryFolder folder;
  const auto straight = fresh<Composed>();
  train::fit(*straight, counting, twelve_steps());

  FitOptions options = twelve_steps();
  options.checkpoint = folder / "state.safetensors";
  options.save_every = 4;
  options.after_step = [](std::size_t step, double) {
    if (step == 7) throw std::runtime_error("power cut");
  };
  CHECK_THROWS_WITH(train::fit(*fresh<Composed>(), counting, options), "power cut");
  options.after_step = {};
  const auto resumed = fresh<Composed>();
  train::fit(*resumed, counting, options);
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
}

TEST_CASE("a disk that is full at a save ends the run; the last save is whole, and the run goes on from it") {
  const TemporaryFolder folder;
  const auto straight = fresh<Composed>();
  train::fit(*straight, counting, twelve_steps());

  FitOptions options = twelve_steps();
  options.checkpoint = folder / "state.safetensors";
  options.save_every = 4;
  std::unique_ptr<FileSizeLimit> limit;
  options.after_step = [&](std::size_t step, double) {
    if (step == 8) limit = std::make_unique<FileSizeLimit>(10'000);
  };
  CHECK_THROWS_WITH(train::fit(*fresh<Composed>(), counting, options),
                    Contains(options.checkpoint + ": cannot write (after 10000 bytes): File too large") &&
                        Contains("the file of before is as it was"));
  limit.reset();
  CHECK(folder.files() == 1);
  options.after_step = {};
  const auto resumed = fresh<Composed>();
  train::fit(*resumed, counting, options);
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
}

TEST_CASE("a checkpoint that was cut or altered is refused, and nothing is changed") {
  const TemporaryFolder folder;
  FitOptions options = twelve_steps();
  options.checkpoint = folder / "state.safetensors";
  options.save_every = 12;
  train::fit(*fresh<Composed>(), counting, options);
  const std::string whole = contents_of(options.checkpoint);
  options.steps = 20;
  const auto m = fresh<Composed>();
  const auto before = parameters_of(*m);

  put_contents(options.checkpoint, whole.substr(0, whole.size() - 100));
  CHECK_THROWS_WITH(train::fit(*m, counting, options), Contains(options.checkpoint));
  std::string altered = whole;
  altered[whole.size() - 100] ^= 4;
  put_contents(options.checkpoint, altered);
  CHECK_THROWS_WITH(train::fit(*m, counting, options),
                    Contains(options.checkpoint + ": altered after it was written: expected contents of SHA-256"));
  CHECK(same_bits(parameters_of(*m), before));
  CHECK(contents_of(options.checkpoint) == altered);
}

TEST_CASE("a gradient that is not finite is named, nothing is changed, and the next run is free of it") {
  const auto m = fresh<Trained>(), clean = fresh<Trained>();
  auto& weight = m->layers[3].mlp.down_proj.weight;
  const float healthy = weight.value()[7];
  weight.mutable_value().mutable_data()[7] = std::numeric_limits<float>::infinity();
  const auto before = parameters_of(*m);
  CHECK_THROWS_WITH(train::fit(*m, counting, twelve_steps()),
                    Contains("the gradient of parameter ") && Contains(" is not finite after 0 updates"));
  CHECK(same_bits(parameters_of(*m), before));

  weight.mutable_value().mutable_data()[7] = healthy;
  train::fit(*m, counting, twelve_steps());
  train::fit(*clean, counting, twelve_steps());
  CHECK(same_bits(parameters_of(*m), parameters_of(*clean)));
}

TEST_CASE("batches that teach nothing are refused, with what was expected and what was found") {
  const auto m = fresh<Composed>();
  const auto before = parameters_of(*m);
  FitOptions options = twelve_steps();
  options.batch_size = 0;
  CHECK_THROWS_WITH(train::fit(*m, counting, options),
                    "calm::train::collate: an empty batch; expected at least one example");
  options.batch_size = 3;
  const auto fit_on = [&](const Example& second) {
    train::fit(*m, [&](std::uint64_t i, Example& out) { i % 3 == 1 ? void(out = second) : counting(i, out); }, options);
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
