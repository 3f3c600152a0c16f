// Training that is killed with SIGKILL, again and again, ends with the bridges of training that is not, byte for byte.
//
// Each run is a process of its own. This one only forks, waits and kills: it must use no threads, which a fork loses.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include <catch2/catch.hpp>

#include "calm/compose/bridge_file.hpp"
#include "calm/tensor/packed_tensor.hpp"
#include "calm/train/evaluation.hpp"
#include "calm/train/fit_features.hpp"
#include "compose/models.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Clock = std::chrono::steady_clock;

constexpr int kills = 100;

/// How the killed program trains.
struct Variant {
  std::size_t accumulate = 1;
  bool cached = false;  ///< the models are packed, and the frozen part is kept in a file
};

/// Texts of 3 to 9 tokens, 24 an epoch.
void text(std::uint64_t i, train::Example& out) {
  const std::uint64_t line = i % 24;
  out.tokens.resize(3 + random_below({4, 0}, line, 7));
  for (std::size_t t = 0; t < out.tokens.size(); ++t)
    out.tokens[t] = static_cast<Index>(random_below({4, 1 + line}, t, AnchorSpec::config.vocab));
  out.prompt = 1;
}

template <class Mode>
using Composed = Compose<nn::Transformer<AnchorSpec, float, Cpu, Mode>, nn::Transformer<AugmentSpec, float, Cpu, Mode>,
                         SmallLinks>;

/// The program: composes two small random models, trains the bridges as far as they are not yet, and saves them.
template <class Model>
void train_bridges(const std::string& folder, const Variant& variant) {
  const auto m = make_small<Model>(false);
  train::FitOptions options{.steps = 40, .batch_size = 6, .accumulate = variant.accumulate, .learning_rate = 1e-2,
                            .warmup_steps = 4};
  options.evaluate = [&] { return train::mean_loss(*m, text, 8, 8); };
  options.evaluate_every = 5;
  options.keep_best = true;
  options.progress = false;
  options.metrics = folder + "/log.jsonl";
  options.log_every = 3;
  options.checkpoint = folder + "/run";
  options.save_every = 2;
  options.keep = 2;
  if (variant.cached)
    train::fit(*m, text, options, {.path = folder + "/features", .examples = 24});
  else
    train::fit(*m, text, options);
  save_bridges(*m, folder + "/bridges.safetensors");
}

/// Starts the program as a process.
pid_t start(const std::string& folder, const Variant& variant) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child > 0) return child;
  int status = 0;
  try {
    (variant.cached ? train_bridges<Composed<FrozenAs<bf16>>> : train_bridges<Composed<Frozen>>)(folder, variant);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "the killed program: %s\n", e.what());
    status = 1;
  }
  ::_exit(status);
}

/// Whether a checkpoint is being written, or removed, or was when the process died.
bool amid_save(const std::string& folder) {
  std::error_code code;
  std::filesystem::directory_iterator entry(folder + "/run", code);
  for (; !code && entry != std::filesystem::directory_iterator(); entry.increment(code)) {
    if (entry->path().filename().string().starts_with(".step-")) return true;
  }
  return false;
}

/// Waits at random, for every second kill also for a save to begin, and kills. True if the process was done before.
bool wait_and_kill(pid_t child, const std::string& folder, int number, Clock::duration longest) {
  const auto part = [&](std::uint64_t i, Clock::duration all) {
    return all * random_below({11, i}, static_cast<std::uint64_t>(number), 1000) / 1000;
  };
  const auto until = Clock::now() + part(0, longest);
  int status = 0;
  const auto done = [&] { return ::waitpid(child, &status, WNOHANG) == child; };
  bool is_done = false;
  while (!(is_done = done()) && Clock::now() < until) std::this_thread::sleep_for(std::chrono::microseconds(200));
  if (!is_done && number % 2 == 1) {
    while (!(is_done = done()) && !amid_save(folder)) {}
    std::this_thread::sleep_for(part(1, std::chrono::milliseconds(3)));
  }
  if (!is_done) {
    ::kill(child, SIGKILL);
    REQUIRE(::waitpid(child, &status, 0) == child);
  }
  if (WIFEXITED(status)) REQUIRE(WEXITSTATUS(status) == 0);
  return WIFEXITED(status);
}

/// The log without what a clock says.
std::string timeless(const std::string& path) {
  std::string kept;
  std::istringstream in(contents_of(path));
  for (std::string line; std::getline(in, line);) {
    kept += line.substr(0, line.find(",\"tokens_per_second\""));
    kept += '\n';
  }
  return kept;
}

void kill_again_and_again(const Variant& variant) {
  const TemporaryFolder straight;
  const auto begin = Clock::now();
  int status = 0;
  const pid_t child = start(straight / "", variant);
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  const Clock::duration longest = (Clock::now() - begin) / 8;
  const std::string bridges = contents_of(straight / "bridges.safetensors"), log = timeless(straight / "log.jsonl");
  REQUIRE(bridges.size() > 1000);

  int killed = 0, saves = 0, ends = 0;
  std::optional<TemporaryFolder> folder;
  for (int number = 0; killed < kills || folder; ++number) {
    if (!folder) folder.emplace();
    const pid_t next = start(*folder / "", variant);
    const Clock::duration patience = killed < kills ? longest : std::chrono::minutes(5);
    if (wait_and_kill(next, *folder / "", killed < kills ? number : 2, patience)) {
      const bool same_bridges = contents_of(*folder / "bridges.safetensors") == bridges;
      CHECK(same_bridges);
      CHECK(timeless(*folder / "log.jsonl") == log);
      folder.reset();
      ++ends;
    } else {
      ++killed;
      saves += amid_save(*folder / "");
    }
  }
  CHECK(killed == kills);
  CHECK(saves > kills / 10);
  CHECK(ends > 0);
  std::printf("killed %d times, %d of them amid a save; %d runs came to their end\n", killed, saves, ends);
}

}  // namespace

TEST_CASE("killed at random moments, training ends as if it were not") { kill_again_and_again({}); }

TEST_CASE("killed at random moments, training in parts ends as if it were not") {
  kill_again_and_again({.accumulate = 3});
}

TEST_CASE("killed at random moments, training with kept features ends as if it were not") {
  kill_again_and_again({.cached = true});
}
