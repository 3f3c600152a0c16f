/// \file  One token of each text: what decoding does again and again, and leaves to the device as far as it can.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "calm/generate/reading.hpp"
#include "calm/generate/sample.hpp"
#include "calm/tensor/arguments.hpp"
#include "calm/tensor/error.hpp"
#ifdef CALM_CUDA
#include "calm/tensor/cuda/mirror.hpp"
#include "calm/tensor/cuda/streams.hpp"
#include "calm/tensor/storage.hpp"
#endif

namespace calm::detail {

/// Reads a token, or none, of each text into caches, which stay where they are; the results are of the last `read`.
template <class Model, class Device = typename Model::device>
class TokenStep {
 public:
  using T = typename Model::value_type;
  static constexpr std::size_t vocab = Model::spec::config.vocab;

  void read(const Model& model, std::span<const Reading> readings, typename Model::Caches& caches) {
    logits_ = read_texts(model, readings, caches);
  }
  /// Behind the token of text b, [Vocab].
  const T* logits(std::size_t b) { return logits_.data() + b * vocab; }
  /// The first of those whose logit is the largest.
  Index most_likely(std::size_t b) { return argmax(logits(b), vocab); }
  /// What the device drew for text b, whose reading said how; null where the host has to.
  const kernel::Drawn* drawn(std::size_t) const { return nullptr; }

 private:
  decltype(read_texts(std::declval<const Model&>(), {}, std::declval<typename Model::Caches&>())) logits_;
};

#ifdef CALM_CUDA

/// On a GPU what a step launches is recorded at the second step and launched again as one from then on (a CUDA graph),
/// where the host has no part in a step: with causal masks and one tokenizer. The most likely tokens are found there,
/// others are drawn behind it, where `Reading::draw` says how, and the host waits for these alone.
template <class Model>
class TokenStep<Model, Cuda> {
 public:
  using T = typename Model::value_type;
  static constexpr std::size_t vocab = Model::spec::config.vocab;

  void read(const Model& model, std::span<const Reading> readings, typename Model::Caches& caches) {
    if (!step_) step_ = std::make_unique<Step>(readings.size());
    step_->set(readings);
    if (recorded_) {
      recorded_->launch();
    } else {
      if (Model::shares_prefixes && steps_++ == 1) record(model, caches);
      if (recorded_) recorded_->launch();
      else step_->run(model, caches);
    }
    // Launched while the step runs, which takes longer than launching.
    if (std::any_of(readings.begin(), readings.end(), [](const Reading& r) { return r.draw.has_value(); }))
      step_->draw();
    cuda::synchronize();
    on_host_ = {};
  }
  const T* logits(std::size_t b) {
    if (!on_host_.defined()) on_host_ = on_host(step_->logits);
    return on_host_.data() + b * vocab;
  }
  Index most_likely(std::size_t b) { return step_->best[b]; }
  const kernel::Drawn* drawn(std::size_t b) const {
    const kernel::Drawn* const made = step_->drawn() + b;
    return made->token >= 0 ? made : nullptr;  // the host says what is wrong with such logits
  }
  /// Whether steps are launched as one.
  bool recorded() const { return recorded_ != nullptr; }

 private:
  using PerText = Tensor<Index, Cuda, Batch>;
  using Logits = Tensor<T, Cuda, Batch, nn::Vocab<typename Model::spec>>;

  /// What a step reads and writes, at one place for all steps.
  struct Step {
    nn::Tokens<Cuda> tokens;
    nn::Layout<Cuda> layout;
    PerText last, best;
    Logits logits;
    Storage<Cuda> draws, results;  ///< a Draw and a Drawn of each text
    Index* best_data;
    T* logits_data;

    explicit Step(std::size_t batch)
        : tokens(nn::Tokens<Cuda>::zeros(Shape<Batch, Time>(batch, 1))),
          layout(nn::detail::empty_layout<Cuda>(batch, 1)), last(PerText::zeros(Shape<Batch>(batch))),
          best(PerText::zeros(Shape<Batch>(batch))), logits(typename Logits::shape_type(batch)),
          draws(batch * sizeof(kernel::Draw), Place::shared), results(batch * sizeof(kernel::Drawn), Place::shared),
          best_data(best.mutable_data()), logits_data(logits.mutable_data()) {
      layout.prompt = nn::Tokens<Cuda>::zeros(Shape<Batch, Time>(batch, 1));
      layout.windows = std::make_shared<std::map<std::size_t, nn::Tokens<Cuda>>>();
    }
    /// A text that stands still is padding.
    void set(std::span<const Reading> readings) {
      Index *const token = tokens.mutable_data(), *const position = layout.position.mutable_data();
      Index *const end = layout.keys.end.mutable_data(), *const prompt = layout.prompt.mutable_data();
      for (std::size_t b = 0; b < readings.size(); ++b) {
        const Reading& r = readings[b];
        const bool reads = !r.tokens.empty();
        token[b] = reads ? r.tokens.front() : 0;
        position[b] = reads ? static_cast<Index>(r.start) : 0;
        end[b] = reads ? static_cast<Index>(r.start + 1) : 0;
        prompt[b] = static_cast<Index>(r.prompt);
        how()[b] = r.draw.value_or(kernel::Draw{});
      }
      for (auto& [window, begin] : *layout.windows) nn::detail::write_window(layout, window, begin.mutable_data());
    }
    void run(const Model& model, typename Model::Caches& caches) {
      const auto all = [](const auto& indices) { return std::span<const Index>(indices.data(), indices.size()); };
      std::vector<std::span<const Index>> read{all(tokens), all(layout.position), all(layout.keys.end), all(last)};
      for (const auto& window : *layout.windows) read.push_back(all(window.second));
      const cuda::Mirror mirror(read);  // each layer reads them
      const Logits fresh = model.next_logits(tokens, layout, last, caches);
      kernel::copy(Cuda{}, fresh.size(), fresh.data(), logits_data);
      kernel::argmax_rows(Cuda{}, last.size(), vocab, fresh.data(), best_data);
    }
    void draw() { kernel::draw_rows(Cuda{}, last.size(), vocab, logits_data, best_data, how(), drawn()); }
    kernel::Draw* how() { return static_cast<kernel::Draw*>(draws.data()); }
    kernel::Drawn* drawn() { return static_cast<kernel::Drawn*>(results.data()); }
  };

  void record(const Model& model, typename Model::Caches& caches) {
    try {
      recorded_ = std::make_unique<cuda::Recorded>([&] { step_->run(model, caches); });
    } catch (const Error&) {  // the host has a part in this model's steps
    }
  }

  std::unique_ptr<Step> step_;
  std::unique_ptr<cuda::Recorded> recorded_;  // goes first: it runs on the step's memory
  std::size_t steps_ = 0;
  Tensor<T, Cpu, Batch, nn::Vocab<typename Model::spec>> on_host_;
};

#endif

}  // namespace calm::detail
