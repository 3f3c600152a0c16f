// Training and decoding of a composition in the shapes of Gemma 2B and Gemma 3 270M, with random weights, in bf16.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "calm/compose.hpp"
#include "calm/generate/token_step.hpp"
#include "calm/tensor/cuda/profile.hpp"
#include "calm/train/adamw.hpp"
#include "calm/train/batch.hpp"
#include "measure.hpp"

namespace {

using calm::bf16;
using calm::Cuda;

struct Large {
  static constexpr calm::nn::TransformerConfig config{.vocab = 256000,
                                                      .hidden = 2048,
                                                      .layers = 18,
                                                      .heads = 8,
                                                      .kv_heads = 1,
                                                      .head_width = 256,
                                                      .inner = 16384,
                                                      .context = 8192,
                                                      .norm = calm::nn::NormKind::rms_plus_one,
                                                      .mlp = calm::nn::MlpKind::geglu,
                                                      .norm_eps = 1e-6,
                                                      .embedding_scale = 45.25};
};
struct Small {
  static constexpr calm::nn::TransformerConfig config{.vocab = 262144,
                                                      .hidden = 640,
                                                      .layers = 18,
                                                      .heads = 4,
                                                      .kv_heads = 1,
                                                      .head_width = 256,
                                                      .inner = 2048,
                                                      .context = 8192,
                                                      .norm = calm::nn::NormKind::rms_plus_one,
                                                      .mlp = calm::nn::MlpKind::geglu,
                                                      .norm_eps = 1e-6,
                                                      .qk_norm = true,
                                                      .post_norms = true,
                                                      .embedding_scale = 25.25};
};
using Anchor = calm::nn::Transformer<Large, bf16, Cuda>;
using Augment = calm::nn::Transformer<Small, bf16, Cuda>;
using Model = calm::Compose<Anchor, Augment, calm::Uniform<Anchor, Augment, 8>>;

/// Weights that look random: a mebibyte of numbers, again and again.
template <class M>
void fill(M& model) {
  std::vector<bf16> piece(1 << 20);
  for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = bf16(0.04f * (calm::random_uniform({3, 4}, i) - 0.5f));
  calm::nn::for_each_parameter(model, [&](const std::string&, auto& p) {
    using X = typename std::remove_cvref_t<decltype(p)>::tensor_type;
    X x{typename X::shape_type{}};
    for (std::size_t at = 0; at < x.size(); at += piece.size()) {
      calm::kernel::copy_from_host(Cuda{}, std::min(piece.size(), x.size() - at) * sizeof(bf16), piece.data(),
                                   x.mutable_data() + at);
    }
    p.assign(std::move(x));
  });
  calm::nn::settle(model);
}

calm::train::Minibatch<Cuda> texts_of(std::size_t batch, std::size_t time) {
  std::vector<calm::train::Example> examples(batch);
  for (std::size_t b = 0; b < batch; ++b) {
    for (std::size_t i = 0; i <= time; ++i) {
      examples[b].tokens.push_back(static_cast<calm::Index>(calm::random_below({5, b}, i, 256000)));
    }
  }
  return calm::train::collate<Cuda>(examples);
}

/// Where a step's time goes: the ten kernels that take most.
void report_profile(const char* what) {
  const auto lines = calm::cuda::end_profile();
  double all = 0;
  for (const auto& line : lines) all += line.milliseconds;
  for (std::size_t i = 0; i < std::min<std::size_t>(lines.size(), 20); ++i) {
    std::printf("{\"name\": \"%s: %s\", \"launches\": %zu, \"milliseconds\": %.3f, \"part\": %.3f}\n", what,
                lines[i].kernel.c_str(), lines[i].launches, lines[i].milliseconds, lines[i].milliseconds / all);
  }
  std::fflush(stdout);
}

void training(Model& model, std::size_t batch, double ceiling) {
  const std::size_t time = 2048;
  const auto made = texts_of(batch, time);
  calm::train::AdamW<float, Cuda> optimizer(model);
  calm::Tape<Cuda> tape;
  double loss = 0;
  const auto step = [&] {
    const auto begin = std::chrono::steady_clock::now();
    {
      const auto recording = tape.record();
      const auto scalar = model.loss(made.tokens, made.layout, made.targets);
      calm::backward(scalar);
      loss = static_cast<double>(calm::on_host(calm::value(scalar))[0]);
    }
    optimizer.clip_gradients(1, optimizer.gradient_norm().value);
    optimizer.step(1e-4);
    optimizer.zero_gradients();
    calm::cuda::synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  for (int i = 0; i < 2; ++i) step();
  calm::cuda::reset_peak();
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) seconds.push_back(step());
  std::sort(seconds.begin(), seconds.end());
  const double tokens = static_cast<double>(batch * time), flops = calm::plan<Model>(batch, time).training_flops;
  char name[64];
  std::snprintf(name, sizeof(name), "training step, %zu texts of 2048", batch);
  speed::report(name, seconds[2], flops * tokens * 1e-12, "TFLOP/s", ceiling);
  std::printf("{\"name\": \"%s: memory\", \"peak_bytes\": %zu, \"loss\": %.5g}\n", name, calm::cuda::use().peak, loss);
  calm::cuda::start_profile();
  step();
  report_profile("in a step");
}

/// Each token's logits, one text, as the decoder asks for them.
void decoding(Model& model, double ceiling) {
  const std::size_t prompt = 128, capacity = 512;
  auto caches = std::make_unique<typename Model::Caches>(model.make_caches(1, capacity));
  std::vector<calm::Index> text(prompt, 7);
  const auto whole = calm::detail::Reading{text, 0, prompt};
  (void)calm::detail::read_texts(model, std::span(&whole, 1), *caches);
  const auto plan = calm::plan<Model>(1, 256);
  // Each weight once, the table of tokens too; the bridges are read folded.
  const double bytes = static_cast<double>(plan.anchor_weights + plan.augment_weights + plan.folded);
  const auto measure = [&](const char* name, std::size_t steps, const auto& read,
                           std::optional<calm::kernel::Draw> draw = {}) {
    const auto next = [&] {
      text.push_back(7);
      const calm::detail::Reading reading{std::span(text).last(1), text.size() - 1, prompt, draw};
      read(std::span(&reading, 1));
    };
    for (int i = 0; i < 8; ++i) next();
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < steps; ++i) next();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    speed::report(name, seconds / static_cast<double>(steps), bytes * 1e-12, "TB/s", ceiling);
  };
  measure("decoding, launch by launch", 32,
          [&](auto readings) { (void)calm::detail::read_texts(model, readings, *caches); });
  calm::detail::TokenStep<Model> step;
  const auto read = [&](auto readings) { step.read(model, readings, *caches); };
  measure("decoding, one text", 128, read);
  measure("decoding, one text, drawn by temperature", 64, read, calm::kernel::Draw{.temperature = 0.8, .uniform = 0.6});
  measure("decoding, one text, drawn by top-k and top-p", 64, read,
          calm::kernel::Draw{.temperature = 0.8, .top_k = 50, .top_p = 0.9, .uniform = 0.6});
  std::printf("{\"name\": \"decoding is recorded\", \"value\": %s}\n", step.recorded() ? "true" : "false");
  calm::cuda::start_profile();
  const calm::detail::Reading reading{std::span(text).last(1), text.size() - 1, prompt};
  (void)calm::detail::read_texts(model, std::span(&reading, 1), *caches);
  report_profile("in a token");
}

std::unique_ptr<Model> make_model() {
  auto model = std::make_unique<Model>();
  fill(model->anchor);
  fill(model->augment);
  fill(*model);
  return model;
}

}  // namespace

void measure_decoding(double memory) { decoding(*make_model(), memory); }
void measure_training(std::size_t batch, double arithmetic) { training(*make_model(), batch, arithmetic); }
