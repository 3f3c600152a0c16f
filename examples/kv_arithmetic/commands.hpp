/// \file  The sub-commands, for one scale.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <fmt/core.h>

#include "report.hpp"
#include "run.hpp"

namespace kv {

/// Runs jobs on all cores, one thread to each: these models are too small to share a product among cores.
inline void run_jobs(const std::vector<std::function<void()>>& jobs) {
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

/// Does what `command` names.
template <class S>
void run_scale(const std::string& command, const Settings& settings, std::size_t shown) {
  Experiment<S> experiment(settings);
  if (command == "data") show_data(experiment, shown);
  if (command == "augment") experiment.train_augment(false), experiment.train_augment(true);
  if (command == "anchor") experiment.train_anchor();
  if (command == "compose" || command == "evaluate") {
    print({experiment.template base_row<Augment<S>>("augment"), experiment.template base_row<Anchor<S>>("anchor"),
           experiment.template composed_row<>("composed", "augment")});
  }
  if (command == "table") table(experiment);
}

}  // namespace kv
