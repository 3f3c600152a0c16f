// Training and decoding of a composition in the shapes of Gemma 2B and Gemma 3 270M, with random weights, in bf16.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "calm/compose.hpp"
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
}

void training(Model& model, std::size_t batch, double ceiling) {
  const std::size_t time = 2048;
  std::vector<calm::train::Example> examples(batch);
  for (std::size_t b = 0; b < batch; ++b) {
    for (std::size_t i = 0; i <= time; ++i) {
      examples[b].tokens.push_back(static_cast<calm::Index>(calm::random_below({5, b}, i, 256000)));
    }
  }
  const auto made = calm::train::collate<Cuda>(examples);
  calm::train::AdamW<float, Cuda> optimizer(model);
  calm::Tape<Cuda> tape;
  std::vector<double> seconds;
  double loss = 0;
  for (int i = 0; i < 5; ++i) {
    if (i == 2) calm::cuda::reset_peak();
    const auto begin = std::chrono::steady_clock::now();
    {
      const auto recording = tape.record();
      const auto scalar = model.loss(made.tokens, made.layout, made.targets);
      loss = static_cast<double>(calm::on_host(calm::value(scalar))[0]);
      calm::backward(scalar);
    }
    optimizer.clip_gradients(1, optimizer.gradient_norm().value);
    optimizer.step(1e-4);
    optimizer.zero_gradients();
    calm::cuda::synchronize();
    if (i >= 2) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  const double tokens = static_cast<double>(batch * time), flops = calm::plan<Model>(batch, time).training_flops;
  char name[64];
  std::snprintf(name, sizeof(name), "training step, %zu texts of 2048", batch);
  speed::report(name, seconds[1], flops * tokens * 1e-12, "TFLOP/s", ceiling);
  std::printf("{\"name\": \"%s: memory\", \"peak_bytes\": %zu, \"loss\": %.5g}\n", name, calm::cuda::use().peak, loss);
  std::fflush(stdout);
}

void decoding(Model& model, double ceiling) {
  const auto caches = std::make_unique<typename Model::Caches>(model.make_caches(1, 256));
  std::size_t place = 0;
  const auto next = [&](std::size_t count) {
    const calm::Index start = static_cast<calm::Index>(place), length = static_cast<calm::Index>(count);
    auto layout = calm::nn::continue_at<Cuda>(std::span(&start, 1), std::span(&length, 1), count);
    layout.prompt = calm::nn::Tokens<Cuda>::full(layout.position.shape(), 128);
    const auto tokens = calm::nn::Tokens<Cuda>::full(layout.position.shape(), 7);
    const auto last = calm::Tensor<calm::Index, Cuda, calm::Batch>::full(calm::Shape<calm::Batch>(1), length - 1);
    (void)calm::on_host(model.next_logits(tokens, layout, last, *caches));
    place += count;
  };
  next(128);
  for (int i = 0; i < 8; ++i) next(1);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 64; ++i) next(1);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / 64;
  const auto plan = calm::plan<Model>(1, 256);
  const double bytes = static_cast<double>(plan.weights() + plan.folded);  // each weight once, the table of tokens too
  speed::report("decoding, one text", seconds, bytes * 1e-12, "TB/s", ceiling);
}

}  // namespace

void measure_composition(double memory, double arithmetic) {
  const auto model = std::make_unique<Model>();
  fill(model->anchor);
  fill(model->augment);
  fill(*model);
  decoding(*model, memory);
  for (const std::size_t batch : {1u, 2u, 8u}) training(*model, batch, arithmetic);
}
