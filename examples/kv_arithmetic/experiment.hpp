/// \file  The steps of the experiment: train a base, compose, run a control, evaluate. What was trained is kept.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <type_traits>

#include <fmt/core.h>

#include <calm/compose/bridge_file.hpp>
#include <calm/io/module_file.hpp>
#include <calm/train/fit.hpp>

#include "evaluate.hpp"
#include "jobs.hpp"
#include "kept.hpp"
#include "models.hpp"
#include "run.hpp"

namespace kv {

/// One line of the table.
struct Row {
  std::string model;
  Scores scores;
  std::size_t trainable_parameters = 0;
  double seconds = 0;  ///< of one processor (or the GPU) in training, 0 where nothing was trained now
  Scores deviation{};  ///< standard deviation over seeds, 0 for one seed
};

/// A model that was trained on D_C, now or before.
template <class Model>
struct Tuned {
  std::unique_ptr<Model> model;
  double seconds = 0;  ///< as in `Row`
};

/// The one progress line of the terminal: of runs side by side, the first that asks has it.
class ProgressLine {
 public:
  ProgressLine() : mine_(!taken().exchange(true)) {}
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() {
    if (mine_) taken() = false;
  }
  bool mine() const { return mine_; }

 private:
  static std::atomic<bool>& taken() {
    static std::atomic<bool> flag{false};
    return flag;
  }
  bool mine_;
};

template <class S>
class Experiment {
 public:
  explicit Experiment(Settings settings) : settings_(std::move(settings)), book_(settings_.seed) {
    std::filesystem::create_directories(settings_.bases);
    std::filesystem::create_directories(settings_.out);
  }

  const KeyBook<S>& book() const { return book_; }
  const Settings& settings() const { return settings_; }

  void train_anchor() {
    const std::uint64_t seed = settings_.anchor_seed;
    train_base<Anchor<S, calm::Trainable>>("anchor", seed + 2, settings_.anchor, anchor_stream<S>(book_, seed));
  }
  void train_augment(bool other_keys) {
    train_base<Augment<S, calm::Trainable>>(other_keys ? "vanilla" : "augment", settings_.seed + 1, settings_.augment,
                                            augment_stream<S>(book_, settings_.seed, other_keys));
  }

  /// A trained base.
  template <class Model>
  std::unique_ptr<Model> base(const std::string& name) {
    auto model = std::make_unique<Model>();
    calm::io::load_module(*model, base_file(name));
    return model;
  }
  /// The trained composition.
  auto composed() {
    auto model = bases_composed<Composed<S>>("augment");
    calm::load_bridges(*model, result_file("composed") + ".safetensors");
    return model;
  }

  /// A base model alone, as a language model.
  template <class Model>
  Row base_row(const std::string& name) {
    return {name, evaluate_all<S>(*base<Model>(name), book_, book_.range(Keys::held_out), settings_.evaluated)};
  }

  /// Trains bridges between the anchor and the named augment ("augment", "vanilla" or "random"), or loads those of
  /// before.
  template <class Options = calm::bridge::Local>
  Row composed_row(const std::string& row, const std::string& augment) {
    return bridge_row<Composed<S, Options>>(row, augment, book_.range(Keys::held_in), book_.range(Keys::held_out));
  }

  /// The same with any links and options, trained on keys `learned` and evaluated on keys `asked`.
  template <class Model>
  Row bridge_row(const std::string& row, const std::string& augment, KeyRange learned, KeyRange asked) {
    auto model = bases_composed<Model>(augment);
    const std::string before = calm::io::weights_sha256(model->anchor) + calm::io::weights_sha256(model->augment);
    const double seconds = train_or_load(*model, row, composition_stream<S>(book_, settings_.seed, learned));
    const std::string after = calm::io::weights_sha256(model->anchor) + calm::io::weights_sha256(model->augment);
    if (before != after) throw calm::Error("kv_arithmetic: training the bridges changed a frozen base");
    return {row, evaluate_all<S>(*model, book_, asked, settings_.evaluated), model->trainable_parameters, seconds};
  }

  /// Anchor and augment of a composition; its bridges have no memory yet.
  template <class Model>
  auto bases_composed(const std::string& augment) {
    auto model = std::make_unique<Model>();
    calm::io::load_module(model->anchor, base_file("anchor"));
    if (augment == "random")
      calm::nn::initialise(model->augment, {.seed = settings_.seed + 77});
    else
      calm::io::load_module(model->augment, base_file(augment), {.allow_unused = true});
    return model;
  }

  /// Trains bridges on the stream, or loads those of before; returns the seconds as in `Row`.
  template <class Model, class Stream>
  double train_or_load(Model& model, const std::string& row, const Stream& stream) {
    const std::string file = result_file(row) + ".safetensors";
    if (is_kept(settings_, file)) {
      try {
        calm::load_bridges(model, file);
        return 0;
      } catch (const calm::Error& e) {
        fmt::print(stderr, "{}\n{}: trained again\n", e.what(), row);
      }
    }
    model.initialise_bridges(settings_.seed);
    const double seconds = run(row, model, settings_.composition, stream);
    calm::save_bridges(model, file);
    keep(settings_, file);
    return seconds;
  }

  /// The base called `from`, trained further on D_C as far as `Model` allows; or what was so trained on it before.
  template <class Model>
  Tuned<Model> tuned(const std::string& name, const std::string& from, const Training& how) {
    static constexpr const char* base_key = "kv.base.sha256";
    const std::string file = result_file(name) + ".safetensors";
    Tuned<Model> found{std::make_unique<Model>()};
    if constexpr (std::is_same_v<typename Model::mode, calm::Trainable>) {
      calm::io::load_module(*found.model, base_file(from));
    } else {
      calm::io::load_frozen(*found.model, base_file(from));
      calm::nn::initialise_trainable(*found.model, {.seed = settings_.seed});
    }
    using Base = calm::nn::Transformer<typename Model::spec, float, Device>;
    const std::string digest = calm::io::weights_sha256(*base<Base>(from));
    const auto is_of_base = [&] {
      const auto metadata = calm::io::SafetensorsFile::open(file).metadata();
      const auto entry = metadata.find(base_key);
      return entry != metadata.end() && entry->second == digest;
    };
    if (is_kept(settings_, file) && is_of_base()) {
      calm::io::load_module(*found.model, file);
    } else {
      found.seconds = run(name, *found.model, how, composition_stream<S>(book_, settings_.seed));
      calm::io::save_module(*found.model, file, {{base_key, digest}});
      keep(settings_, file);
    }
    return found;
  }

  template <class Model>
  Row row(const std::string& name, const Tuned<Model>& tuned, std::size_t trainable_parameters) const {
    return {name, evaluate_all<S>(*tuned.model, book_, book_.range(Keys::held_out), settings_.evaluated),
            trainable_parameters, tuned.seconds};
  }

  std::string base_file(const std::string& name) const {
    const std::uint64_t seed = name == "anchor" ? settings_.anchor_seed : settings_.seed;
    return settings_.bases + "/" + name + "-seed" + std::to_string(seed) + ".safetensors";
  }
  std::string result_file(const std::string& name) const {
    return settings_.out + "/" + name + "-seed" + std::to_string(settings_.seed);
  }

 private:
  template <class Model, class Stream>
  void train_base(const std::string& name, std::uint64_t seed, const Training& how, const Stream& stream) {
    if (is_kept(settings_, base_file(name))) return;
    auto model = std::make_unique<Model>();
    calm::nn::initialise(*model, {.seed = seed, .deviation = how.deviation});
    run(name, *model, how, stream);
    if (name == "anchor") forget_unseen(*model);
    calm::io::save_module(*model, base_file(name));
    keep(settings_, base_file(name));
  }

  /// Sets the rows of tokens that the anchor never met (the filler and all keys) to zero. Training moves them although
  /// no text has them: the tied LM head pushes every row that is never right, here to four times the size of the
  /// others.
  template <class Model>
  static void forget_unseen(Model& anchor) {
    auto table = calm::on_host(anchor.embed_tokens.value()).clone();
    const std::size_t width = table.extent(1), first = static_cast<std::size_t>(S::filler) * width;
    std::fill(table.mutable_data() + first, table.mutable_data() + table.size(), 0.0f);
    anchor.embed_tokens.assign(calm::move_to<Device>(table));
  }

  /// Trains, and returns the seconds of a processor that all steps take.
  template <class Model, class Stream>
  double run(const std::string& name, Model& model, const Training& how, const Stream& stream) {
    const std::string checkpoint = result_file(name) + ".checkpoint";
    const ProgressLine line;
    const double begin = seconds_used();
    std::size_t done = 0;  // in this call: an interrupted run goes on from its checkpoint
    const auto result = calm::train::fit(model, stream,
                                         {.steps = how.steps,
                                          .batch_size = how.batch_size,
                                          .learning_rate = how.learning_rate,
                                          .final_fraction = 0.02,
                                          .warmup_steps = how.steps / 20 + 1,
                                          .clip_norm = 1.0,
                                          .adamw = {.beta2 = 0.98, .weight_decay = how.weight_decay},
                                          .name = name,
                                          .progress = settings_.progress && line.mine(),
                                          .metrics = result_file(name) + ".jsonl",
                                          .checkpoint = checkpoint,
                                          .save_every = 500,
                                          .interrupted = [] { return interrupted != 0; },
                                          .after_step = [&](std::size_t, double) { ++done; }});
    if (!result.finished) {
      throw calm::Error("kv_arithmetic: " + name + " was interrupted after " + std::to_string(result.steps) + " of " +
                        std::to_string(how.steps) + " steps; the same command goes on from there");
    }
    std::filesystem::remove_all(checkpoint);
    const auto share = static_cast<double>(done) / static_cast<double>(how.steps);
    return done > 0 ? (seconds_used() - begin) / share : 0;
  }

  Settings settings_;
  KeyBook<S> book_;
};

}  // namespace kv
