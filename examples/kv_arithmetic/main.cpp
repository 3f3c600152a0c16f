/// \file  The paper's key-value arithmetic (§4.1, Table 1): two frozen models gain a skill that neither has.

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <calm/tensor/error.hpp>

#include "kept.hpp"
#include "run.hpp"

namespace {

/// CLI11 reads -3 as 2^64 - 3.
std::string refuse_negative(const std::string& text) {
  return text.starts_with('-') ? "expected no number below 0, found " + text : "";
}

void add_options(CLI::App& app, kv::Settings& settings, bool& paper_scale) {
  const auto count = [&](const char* name, auto& value, const char* what) {
    return app.add_option(name, value, what)->check(refuse_negative)->capture_default_str();
  };
  count("--seed", settings.seed, "of keys, augments, bridges and data");
  count("--seeds", settings.seeds, "how many seeds, from --seed on, make the table")->check(CLI::Range(1, 1000));
  count("--anchor-seed", settings.anchor_seed, "of the anchor, which serves all seeds");
  app.add_option("--bases", settings.bases, "folder of the base models")->capture_default_str();
  app.add_option("-o,--out", settings.out, "folder of bridges, metrics and tables")->capture_default_str();
  count("--evaluated", settings.evaluated, "expressions per set")->check(CLI::Range(1, 1'000'000));
  count("--steps", settings.composition.steps, "of training the bridges");
  count("--anchor-steps", settings.anchor.steps, "of training the anchor");
  count("--augment-steps", settings.augment.steps, "of training an augment");
  count("--full-steps", settings.full.steps, "of fine-tuning a whole model");
  app.add_option("--full-rate", settings.full.learning_rate, "the learning rate of that")->capture_default_str();
  app.add_flag("--retrain", settings.retrain, "train again what is there already");
  app.add_flag("--paper-scale", paper_scale, "25 000 keys and values, 3 to 6 operands: for a GPU");
}

void add_commands(CLI::App& app, kv::Settings& settings) {
  app.require_subcommand(1);
  app.fallthrough();
  app.add_subcommand("data", "show some expressions in the three sets")
      ->add_option("-n", settings.shown, "how many")
      ->capture_default_str();
  app.add_subcommand("augment", "train the augment, and the one of other keys");
  app.add_subcommand("anchor", "train the anchor");
  app.add_subcommand("compose", "train the bridges between both and evaluate");
  app.add_subcommand("evaluate", "evaluate augment, anchor and composition");
  app.add_subcommand("ask", "put one expression to augment, anchor and composition")
      ->add_option("expression", settings.question, "keys or numbers with + - * between, as 'zorb * 12 - ek'")
      ->required();
  app.add_subcommand("table", "everything, with the controls: the whole of Table 1 and Table 5")
      ->add_flag("--all", settings.all, "full fine-tuning and proxy-tuning, too");
  app.add_subcommand("skills", "what is left of both bases' skills: composed, LoRA, full fine-tuning, proxy-tuning");
  app.add_subcommand("two_augments", "two augments with a key set each: alone, together, and one of them off");
  app.add_subcommand("bridges", "the table of bridges: formulas, gates, links, shares of the keys");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Key-value arithmetic by composition (CALM, arXiv 2401.02412, Table 1)"};
  kv::Settings settings;
  bool paper_scale = false;
  add_options(app, settings, paper_scale);
  add_commands(app, settings);
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGINT, [](int) { kv::interrupted = 1; });
  std::signal(SIGTERM, [](int) { kv::interrupted = 1; });
  try {
    const std::string command = app.get_subcommands().front()->get_name();
    if (command == "bridges" && paper_scale) throw calm::Error("bridges: there is no table at --paper-scale");
    if (command == "bridges")
      kv::bridges(settings);
    else
      (paper_scale ? kv::run_paper_scale : kv::run_default_scale)(command, settings);
    kv::forget_marks(settings);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return 0;
}
