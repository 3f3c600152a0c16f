/// \file  The paper's key-value arithmetic (§4.1, Table 1): two frozen models gain a skill that neither has.

#include <algorithm>
#include <cstdio>
#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "report.hpp"

namespace {

using namespace kv;

// The scales. Default: what two CPU cores train within the demo's time; paper: the numbers of §4.1, for a GPU.
using DefaultScale = Scale<100, 2, 2, 3>;
using PaperScale = Scale<25'000, 5, 3, 6>;

/// Runs jobs on all cores, one thread to each: these models are too small to share a product among cores.
void run_jobs(const std::vector<std::function<void()>>& jobs) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
      try {
        jobs[i]();
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) threads.emplace_back(work);
  for (auto& t : threads) t.join();
  if (failure) std::rethrow_exception(failure);
}

template <class S>
void show_data(const Experiment<S>& experiment, std::size_t count) {
  const auto& book = experiment.book();
  const Writer<S> writer(book);
  fmt::print("{} keys, {} of them held in for D_C; values 0 to {}\n", S::keys, book.held_in(), S::keys - 1);
  Expression e;
  Example text;
  for (std::size_t i = 0; i < count; ++i) {
    draw(book, Keys::held_out, {0x7e57, 99}, i, e);
    for (const auto& [name, set] : {std::pair{"KV-Substitution   ", Set::substitution},
                                    std::pair{"Numeric-Arithmetic", Set::numeric}, std::pair{"KV-Math           ", Set::math}}) {
      writer.write(set, e, text);
      fmt::print("{}  {}\n", name, show<S>(book, text.tokens));
    }
  }
}

template <class S>
void train_bases(Experiment<S>& experiment) {
  run_jobs({[&] { experiment.train_anchor(); }, [&] { experiment.train_augment(false); },
            [&] { experiment.train_augment(true); }});
}

template <class S>
std::vector<Row> table(Experiment<S>& experiment) {
  train_bases(experiment);
  std::vector<Row> rows(7);
  const auto job = [&](std::size_t i, auto make) {
    return [&rows, i, make] {
      rows[i] = make();
      fmt::print("{:<10} KV-Subst {:5.1f}  Numeric {:5.1f}  KV-Math {:5.1f}   ({:.0f} s)\n", rows[i].model,
                 rows[i].scores.substitution, rows[i].scores.numeric, rows[i].scores.math, rows[i].seconds);
      std::fflush(stdout);
    };
  };
  run_jobs({job(2, [&] { return experiment.template composed_row<>("composed", "augment"); }),
            job(3, [&] { return experiment.template composed_row<>("vanilla", "vanilla"); }),
            job(4, [&] { return experiment.template composed_row<>("random", "random"); }),
            job(5, [&] { return experiment.template composed_row<calm::bridge::Encoder>("encoder", "augment"); }),
            job(6, [&] { return experiment.lora_row(); }),
            job(0, [&] { return experiment.template base_row<Augment<S>>("augment"); }),
            job(1, [&] { return experiment.template base_row<Anchor<S>>("anchor"); })});
  print(rows);
  write_report(experiment, rows);
  return rows;
}

struct Command {
  CLI::App *data, *augment, *anchor, *compose, *evaluate, *table;
};

template <class S>
void run(const Command& command, const Settings& settings, std::size_t shown) {
  Experiment<S> experiment(settings);
  if (*command.data) show_data(experiment, shown);
  if (*command.augment) experiment.train_augment(false), experiment.train_augment(true);
  if (*command.anchor) experiment.train_anchor();
  if (*command.compose || *command.evaluate) {
    print({experiment.template base_row<Augment<S>>("augment"), experiment.template base_row<Anchor<S>>("anchor"),
           experiment.template composed_row<>("composed", "augment")});
  }
  if (*command.table) table(experiment);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Key-value arithmetic by composition (CALM, arXiv 2401.02412, Table 1)"};
  app.require_subcommand(1);
  app.fallthrough();
  Settings settings;
  bool paper_scale = false;
  std::size_t shown = 3;
  app.add_option("--seed", settings.seed, "of keys, bases, bridges and data")->capture_default_str();
  app.add_option("--bases", settings.bases, "folder of the base models")->capture_default_str();
  app.add_option("-o,--out", settings.out, "folder of bridges, metrics and tables")->capture_default_str();
  app.add_option("--evaluated", settings.evaluated, "expressions per set")->capture_default_str();
  app.add_option("--steps", settings.composition.steps, "of training the bridges")->capture_default_str();
  app.add_option("--anchor-steps", settings.anchor.steps, "of training the anchor")->capture_default_str();
  app.add_option("--augment-steps", settings.augment.steps, "of training an augment")->capture_default_str();
  app.add_flag("--retrain", settings.retrain, "train again what is there already");
  app.add_flag("--paper-scale", paper_scale, "25 000 keys and values, 3 to 6 operands: for a GPU");
  Command command{};
  command.data = app.add_subcommand("data", "show some expressions in the three sets");
  command.data->add_option("-n", shown, "how many")->capture_default_str();
  command.augment = app.add_subcommand("augment", "train the augment, and the one of other keys");
  command.anchor = app.add_subcommand("anchor", "train the anchor");
  command.compose = app.add_subcommand("compose", "train the bridges between both and evaluate");
  command.evaluate = app.add_subcommand("evaluate", "evaluate augment, anchor and composition");
  command.table = app.add_subcommand("table", "everything, with the controls: the whole of Table 1 and Table 5");
  CLI11_PARSE(app, argc, argv);
  try {
    if (paper_scale) run<PaperScale>(command, settings, shown);
    else run<DefaultScale>(command, settings, shown);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return 0;
}
