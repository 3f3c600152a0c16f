/// \file  A composition from two directories: trained, measured, saved, and asked.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calm/compose/bridge_directory.hpp"
#include "calm/compose/compose.hpp"
#include "calm/compose/two_tokenizers.hpp"
#include "calm/io/hugging_face/model_directory.hpp"
#include "calm/nn/initialise.hpp"
#include "calm/text/tokenizer/load.hpp"
#include "calm/train/fit_features.hpp"
#include "calm/train/stop_on_signal.hpp"
#include "tools/compose/bounded_retokenizer.hpp"
#include "tools/compose/data.hpp"
#include "tools/compose/evaluate.hpp"
#include "tools/compose/report.hpp"
#include "tools/compose/run_record.hpp"
#include "tools/compose/settings.hpp"
#include "tools/generate/continue.hpp"
#include "tools/generate/ends.hpp"
#include "tools/generate/prompt_reader.hpp"

namespace calm::programs {

/// What one call of the program does. `Model` is a composition with one augment.
template <class Model>
class Session {
 public:
  /// Loads both models. Throws `Error`.
  explicit Session(const ComposeSettings& settings)
      : s_(settings),
        shared_(std::make_shared<const text::Tokenizer>(text::load_tokenizer(s_.anchor))),
        ends_(read_ends(s_.anchor, tokenizer_)) {
    if constexpr (own_tokenizer)
      model_.retokenizer =
          bounded(retokenizer(shared_, std::make_shared<const text::Tokenizer>(text::load_tokenizer(s_.augment))),
                  augment_context);
    io::load(model_.anchor, s_.anchor);
    if (s_.random_augment)
      nn::initialise(model_.augment, {.seed = s_.seed + 1});
    else
      io::load(model_.augment, s_.augment);
  }

  /// Trains bridges, or goes on with those of an earlier call, saves them, and says what they bring. Returns false if a
  /// signal ended it.
  bool train() {
    const Data data = read_data(s_, context, shared_, ends_);
    say(data);
    const train::FitResult result = run(data);
    if (!result.finished) return false;
    const Evaluator<Model> evaluate(model_, tokenizer_, ends_, data.held_out);
    std::vector<Row> rows{{"anchor alone", "anchor", evaluate.of_anchor(s_.batch, s_.evaluated)},
                          {"composed", "composed", evaluate(s_.batch, s_.evaluated)}};
    save_bridges(result, rows);
    if (s_.control) {
      Session other(control_of(s_));
      if (!other.run(data).finished) return false;
      const Evaluator<Model> evaluate_other(other.model_, tokenizer_, ends_, data.held_out);
      rows.insert(rows.begin() + 1, {"random augment", "random_augment", evaluate_other(s_.batch, s_.evaluated)});
    }
    std::cout << '\n' << table_of(rows);
    if (rows[0].scores.exact_match && s_.evaluated < data.held_out.size())
      std::cout << "(exact match of the first " << s_.evaluated << " of them)\n";
    nlohmann::ordered_json json{{"steps", result.steps}, {"trainable_parameters", Model::trainable_parameters}};
    json.update(json_of(rows));
    io::write_file_atomically(s_.out + "/results.json", json.dump(2) + "\n");
    std::cout << "saved     " << s_.out << "/bridge\n" << std::flush;
    return true;
  }

  /// Loads the bridges that an earlier call saved. Throws `Error`.
  void load_bridges() { load_bridge_directory(model_, s_.out + "/bridge"); }

  /// Continues the prompts of the command line. Returns false if a signal ended it.
  bool generate() const {
    const PromptReader read(s_.generate, s_.anchor, tokenizer_, ends_);
    std::vector<std::vector<Index>> prompts;
    for (const auto& prompt : s_.prompts) prompts.push_back(read(prompt));
    return Continuer(model_, tokenizer_, s_.generate, options_of(s_.generate, s_.anchor, ends_))(prompts);
  }

 private:
  using Branch = typename Model::template branch_type<0>;
  static constexpr bool own_tokenizer = requires(Branch& branch) { branch.retokenizer; };
  static constexpr std::size_t augment_context = Branch::augment_spec::config.context;
  /// What both read; with a tokenizer of its own, the augment reads the beginning of a text that is too long for it.
  static constexpr std::size_t context =
      own_tokenizer ? Model::spec::config.context : std::min(Model::spec::config.context, augment_context);

  /// How the frozen matrices are kept.
  static std::string frozen_as() {
    return []<class Stored>(FrozenAs<Stored>) { return dtype_name<Stored>; }(typename Model::anchor_type::mode{});
  }

  /// The same with an augment that knows nothing, in a folder within.
  static ComposeSettings control_of(ComposeSettings s) {
    s.random_augment = true;
    s.out += "/control";
    return s;
  }

  /// Trains bridges in this session's folder.
  train::FitResult run(const Data& data) {
    namespace fs = std::filesystem;
    if (s_.fresh) {
      for (const char* name : {"/run", "/run.json", "/metrics.jsonl", "/features"}) fs::remove_all(s_.out + name);
    }
    fs::create_directories(s_.out);
    require_same_run(s_.out + "/run.json",
                     run_record(s_, calm::detail::links_text<typename Branch::map>(),
                                calm::detail::options_text<typename Branch::bridge_type>(), frozen_as()));
    model_.initialise_bridges(s_.seed);
    const train::FitResult result = fit(data);
    std::cout << (result.finished ? s_.random_augment ? "control   " : "trained   " : "interrupted behind step ");
    if (!result.finished) {
      std::cout << result.steps << " of " << s_.steps << "; the same command goes on from there\n";
      return result;
    }
    std::cout << result.steps << " steps";
    if (result.best_step > 0) std::cout << ", the bridges of step " << result.best_step << " kept";
    std::printf(" (%.1f s)\n", result.seconds);
    return result;
  }

  train::FitResult fit(const Data& data) {
    const train::StopOnSignal stop;
    const bool tells = ::isatty(STDERR_FILENO) == 0;  // a terminal has the progress line
    const bool chooses = !data.choose.empty();
    const Evaluator<Model> choose(model_, tokenizer_, ends_, data.choose);
    double choosing = 0;
    train::FitOptions options{.steps = s_.steps,
                              .batch_size = s_.batch,
                              .accumulate = s_.accumulate,
                              .learning_rate = s_.learning_rate,
                              .warmup_steps = s_.warmup};
    if (chooses) options.evaluate = [&] { return choosing = choose.loss(s_.batch); };
    options.evaluate_every = s_.evaluate_every;
    options.patience = s_.patience;
    options.keep_best = chooses;
    options.metrics = s_.out + "/metrics.jsonl";
    options.log_every = std::min<std::size_t>(s_.evaluate_every, 50);
    options.checkpoint = s_.out + "/run";
    options.save_every = s_.save_every;
    options.interrupted = stop;
    options.after_step = [&](std::size_t step, double loss) {
      if (!tells || (step % s_.evaluate_every != 0 && step != s_.steps)) return;
      std::cout << "step " << step << ": loss " << loss;
      if (chooses) std::cout << ", to choose by " << choosing;
      std::cout << std::endl;
    };
    options.warn = [](const std::string& what) { std::cerr << what << '\n'; };
    const auto stream = [&data, key = RandomKey{s_.seed, 0x6F72646572}](std::uint64_t i, train::Example& e) {
      e = data.train[train::shuffled_index(key, i, data.train.size())];
    };
    train::FeatureOptions features{.path = s_.out + "/features", .leave = s_.features == "keep"};
    if (s_.features != "none") {
      features.examples = data.train.size();
      features.tell = [](const std::string& what) { std::cout << "features  " << what << std::endl; };
    }
    return train::fit(model_, stream, options, features);
  }

  void say(const Data& data) const {
    std::cout << "data      " << s_.data << ": " << data.train.size() << " lines to train on, " << data.choose.size()
              << " to choose the best bridges by, " << data.held_out.size() << " held out for the results; the longest "
              << "has " << data.longest << " tokens";
    if (data.cut > 0) std::cout << "; " << data.cut << " were cut";
    if (data.dropped > 0) std::cout << "; " << data.dropped << " were too long and dropped";
    std::cout << "\nbridges   " << Model::trainable_parameters << " parameters, each line "
              << static_cast<double>(s_.steps * s_.batch) / static_cast<double>(data.train.size()) << " times\n"
              << std::flush;
  }

  void save_bridges(const train::FitResult& result, const std::vector<Row>& rows) {
    const auto name = [](const std::string& folder) {
      return std::filesystem::path(folder + "/").parent_path().filename().string();
    };
    std::string about = "Trained for " + std::to_string(result.steps) + " steps on " + name(s_.data) + ".\n\n```\n";
    about.append(table_of(rows)).append("```");
    save_bridge_directory(model_, s_.out + "/bridge", {name(s_.anchor), name(s_.augment), about});
  }

  ComposeSettings s_;
  std::shared_ptr<const text::Tokenizer> shared_;
  const text::Tokenizer& tokenizer_ = *shared_;
  Ends ends_;
  Model model_;
};

}  // namespace calm::programs
