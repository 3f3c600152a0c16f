/// \file  The steps of the experiment: train a base, compose, run a control, evaluate. What was trained is kept.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include <fmt/core.h>

#include <calm/compose/bridge_file.hpp>
#include <calm/io/module_file.hpp>
#include <calm/train/fit.hpp>

#include "evaluate.hpp"
#include "models.hpp"
#include "run.hpp"

namespace kv {

/// One line of the table.
struct Row {
  std::string model;
  Scores scores;
  std::size_t trainable_parameters = 0;
  double seconds = 0;  ///< of training, 0 where nothing was trained now
  Scores deviation{};  ///< standard deviation over seeds, 0 for one seed
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
    auto model = bases_composed<calm::bridge::Local>("augment");
    calm::load_bridges(*model, result_file("composed") + ".safetensors");
    return model;
  }

  /// A base model alone, as a language model.
  template <class Model>
  Row base_row(const std::string& name) {
    return {name, evaluate_all<S>(*base<Model>(name), book_, Keys::held_out, settings_.evaluated)};
  }

  /// Trains bridges between the anchor and the named augment ("augment", "vanilla" or "random"), or loads those of
  /// before.
  template <class Options = calm::bridge::Local>
  Row composed_row(const std::string& row, const std::string& augment) {
    auto model = bases_composed<Options>(augment);
    const std::string before = calm::io::weights_sha256(model->anchor) + calm::io::weights_sha256(model->augment);
    const double seconds = train_or_load(*model, row, [&] { model->initialise_bridges(settings_.seed); });
    const std::string after = calm::io::weights_sha256(model->anchor) + calm::io::weights_sha256(model->augment);
    if (before != after) throw calm::Error("kv_arithmetic: training the bridges changed a frozen base");
    return {row, evaluate_all<S>(*model, book_, Keys::held_out, settings_.evaluated), model->trainable_parameters,
            seconds};
  }

  /// LoRA on the anchor, on the same data; or what was trained on this anchor before.
  Row lora_row() {
    static constexpr const char* base_key = "kv.anchor.sha256";
    auto model = std::make_unique<Lora<S>>();
    const std::string file = result_file("lora") + ".safetensors";
    const std::string anchor = calm::io::weights_sha256(*base<Anchor<S>>("anchor"));
    double seconds = 0;
    const auto is_ours = [&] {
      const auto metadata = calm::io::SafetensorsFile::open(file).metadata();
      const auto found = metadata.find(base_key);
      return found != metadata.end() && found->second == anchor;
    };
    if (!settings_.retrain && std::filesystem::exists(file) && is_ours()) {
      calm::io::load_module(*model, file);
    } else {
      calm::io::load_frozen(*model, base_file("anchor"));
      calm::nn::initialise_trainable(*model, {.seed = settings_.seed});
      seconds = run("lora", *model, settings_.composition, composition_stream<S>(book_, settings_.seed));
      calm::io::save_module(*model, file, {{base_key, anchor}});
    }
    return {"lora", evaluate_all<S>(*model, book_, Keys::held_out, settings_.evaluated),
            LoraRank<S>::rank * LoraRank<S>::per_rank, seconds};
  }

  std::string base_file(const std::string& name) const {
    const std::uint64_t seed = name == "anchor" ? settings_.anchor_seed : settings_.seed;
    return settings_.bases + "/" + name + "-seed" + std::to_string(seed) + ".safetensors";
  }
  std::string result_file(const std::string& name) const {
    return settings_.out + "/" + name + "-seed" + std::to_string(settings_.seed);
  }

 private:
  template <class Options>
  auto bases_composed(const std::string& augment) {
    auto model = std::make_unique<Composed<S, Options>>();
    calm::io::load_module(model->anchor, base_file("anchor"));
    if (augment == "random")
      calm::nn::initialise(model->augment, {.seed = settings_.seed + 77});
    else
      calm::io::load_module(model->augment, base_file(augment), {.allow_unused = true});
    return model;
  }

  template <class Model, class Stream>
  void train_base(const std::string& name, std::uint64_t seed, const Training& how, const Stream& stream) {
    if (std::filesystem::exists(base_file(name)) && !settings_.retrain) return;
    auto model = std::make_unique<Model>();
    calm::nn::initialise(*model, {.seed = seed, .deviation = how.deviation});
    run(name, *model, how, stream);
    if (name == "anchor") forget_unseen(*model);
    calm::io::save_module(*model, base_file(name));
  }

  /// Sets the rows of tokens that the anchor never met (the filler and all keys) to zero. Training moves them although
  /// no text has them: the tied LM head pushes every row that is never right, here to four times the size of the
  /// others.
  template <class Model>
  static void forget_unseen(Model& anchor) {
    auto table = anchor.embed_tokens.value().clone();
    const std::size_t width = table.extent(1), first = static_cast<std::size_t>(S::filler) * width;
    std::fill(table.mutable_data() + first, table.mutable_data() + table.size(), 0.0f);
    anchor.embed_tokens.assign(table);
  }

  template <class Model, class Fresh>
  double train_or_load(Model& model, const std::string& row, const Fresh& fresh) {
    const std::string file = result_file(row) + ".safetensors";
    if (std::filesystem::exists(file) && !settings_.retrain) {
      try {
        calm::load_bridges(model, file);
        return 0;
      } catch (const calm::Error& e) {
        fmt::print(stderr, "{}\n{}: trained again\n", e.what(), row);
      }
    }
    fresh();
    const double seconds = run(row, model, settings_.composition, composition_stream<S>(book_, settings_.seed));
    calm::save_bridges(model, file);
    return seconds;
  }

  template <class Model, class Stream>
  double run(const std::string& name, Model& model, const Training& how, const Stream& stream) {
    const std::string checkpoint = result_file(name) + ".checkpoint";
    if (settings_.retrain) std::filesystem::remove(checkpoint);
    const ProgressLine line;
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
                                          .interrupted = [] { return interrupted != 0; }});
    if (!result.finished) {
      throw calm::Error("kv_arithmetic: " + name + " was interrupted after " + std::to_string(result.steps) + " of " +
                        std::to_string(how.steps) + " steps; the same command goes on from there");
    }
    std::filesystem::remove(checkpoint);
    return result.seconds;
  }

  Settings settings_;
  KeyBook<S> book_;
};

}  // namespace kv
