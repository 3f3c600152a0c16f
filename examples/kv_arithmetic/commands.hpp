/// \file  The sub-commands, for one scale.
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "ask.hpp"
#include "baselines.hpp"
#include "jobs.hpp"
#include "report.hpp"
#include "run.hpp"
#include "skills.hpp"
#include "two_augments.hpp"

namespace kv {

template <class S>
void show_data(const Experiment<S>& experiment, std::size_t count) {
  const auto& book = experiment.book();
  const Writer<S> writer(book);
  fmt::print("{} keys, {} of them held in for D_C; values 0 to {}\n", S::keys, book.held_in(), S::keys - 1);
  Expression e;
  Example text;
  for (std::size_t i = 0; i < count; ++i) {
    draw(book, Keys::held_out, {0x7e57, 99}, i, e);
    for (const auto& [name, set] :
         {std::pair{"KV-Substitution   ", Set::substitution}, std::pair{"Numeric-Arithmetic", Set::numeric},
          std::pair{"KV-Math           ", Set::math}}) {
      writer.write(set, e, text);
      fmt::print("{}  {}\n", name, show<S>(book, text.tokens));
    }
  }
}

/// The whole table of one seed.
template <class S>
std::vector<Row> table_of(Experiment<S>& experiment, bool with_anchor) {
  run_jobs({[&] {
              if (with_anchor) experiment.train_anchor();
            },
            [&] { experiment.train_augment(false); }, [&] { experiment.train_augment(true); }});
  std::vector<Row> rows(experiment.settings().all ? 9 : 7);
  const auto job = [&](std::size_t i, auto make) {
    return [&rows, i, make] {
      rows[i] = make();
      fmt::print("{:<10} KV-Subst {:5.1f}  Numeric {:5.1f}  KV-Math {:5.1f}   ({:.0f} s)\n", rows[i].model,
                 rows[i].scores.substitution, rows[i].scores.numeric, rows[i].scores.math, rows[i].seconds);
      std::fflush(stdout);
    };
  };
  std::vector<std::function<void()>> jobs{
      job(2, [&] { return experiment.template composed_row<>("composed", "augment"); }),
      job(3, [&] { return experiment.template composed_row<>("vanilla", "vanilla"); }),
      job(4, [&] { return experiment.template composed_row<>("random", "random"); }),
      job(5, [&] { return experiment.template composed_row<calm::bridge::Encoder>("encoder", "augment"); }),
      job(6, [&] { return lora_row(experiment); }),
      job(0, [&] { return experiment.template base_row<Augment<S>>("augment"); }),
      job(1, [&] { return experiment.template base_row<Anchor<S>>("anchor"); })};
  if (experiment.settings().all) {
    jobs.push_back(job(7, [&] { return full_row(experiment); }));
    jobs.push_back(job(8, [&] { return proxy_row(experiment); }));
  }
  run_jobs(jobs);
  return rows;
}

template <class S>
void table(const Settings& settings) {
  std::vector<std::vector<Row>> tables;
  for (std::size_t i = 0; i < settings.seeds; ++i) {
    Settings one = settings;
    one.seed = settings.seed + i;
    if (settings.seeds > 1) fmt::print("seed {}\n", one.seed);
    Experiment<S> experiment(one);
    tables.push_back(table_of(experiment, i == 0));
  }
  const auto rows = over_seeds(tables);
  print(rows);
  write_report<S>(settings, rows);
}

/// Does what `command` names.
template <class S>
void run_scale(const std::string& command, const Settings& settings) {
  if (command == "table") return table<S>(settings);
  if (command == "skills") return skills<S>(settings);
  if (command == "two_augments") return two_augments<S>(settings);
  Experiment<S> experiment(settings);
  if (command == "data") show_data(experiment, settings.shown);
  if (command == "augment")
    run_jobs({[&] { experiment.train_augment(false); }, [&] { experiment.train_augment(true); }});
  if (command == "anchor") run_jobs({[&] { experiment.train_anchor(); }});
  if (command == "ask") ask(experiment, settings.question);
  if (command == "compose" || command == "evaluate") {
    std::vector<Row> rows(3);
    run_jobs({[&] { rows[2] = experiment.template composed_row<>("composed", "augment"); },
              [&] { rows[0] = experiment.template base_row<Augment<S>>("augment"); },
              [&] { rows[1] = experiment.template base_row<Anchor<S>>("anchor"); }});
    print(rows);
  }
}

}  // namespace kv
