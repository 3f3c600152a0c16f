/// \file  A composition: a training step, reading a prompt, decoding. fp32, a scaled-down SmolLM as the anchor.
///
/// Useful FLOPs per token of training: 2·N_augment + (2 + 2f)·N_anchor + 6·N_bridge, where N counts the weights of
/// matrix products alone (the LM head once, embedding look-ups not at all), N_augment ends at the last link, and f is
/// the part of N_anchor above its first link. Attention on top: 2·T·H·d per token and layer, causal order needing half
/// of 4·T·H·d, and 2.5 times as much backward, in anchor layers above the first link and in bridges. Norms, activations
/// and the optimizer count nothing. 6·N_bridge is at most 1.5 % of the sum too much: the gradients of the augment's
/// states, and of the anchor's at its first link, are not computed.
///
/// Decoding is bound by memory: bytes/s counts each weight that one token reads, 4 bytes each, and no cached keys.
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <calm/calm.hpp>

#include "machine.hpp"

namespace {

struct Large {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 8192, .hidden = 576, .layers = 6, .heads = 9, .kv_heads = 3, .inner = 1536, .context = 256};
};
struct Small {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 8192, .hidden = 384, .layers = 4, .heads = 6, .kv_heads = 3, .inner = 1024, .context = 256};
};
using Anchor = calm::nn::Transformer<Large, float, calm::Cpu>;
using Augment = calm::nn::Transformer<Small, float, calm::Cpu>;
using Links = calm::Uniform<Anchor, Augment, 2>;
using Model = calm::Compose<Anchor, Augment, Links>;
using Tokens = calm::nn::Tokens<calm::Cpu>;

constexpr std::size_t prompt = 128;  // tokens

template <class S>
constexpr double block_weights() {
  using namespace calm::nn;
  return static_cast<double>(Hidden<S>::extent * (2 * Queries<S>::extent + 2 * Keys<S>::extent + 3 * Inner<S>::extent));
}
constexpr double wide = Large::config.hidden, narrow = Small::config.hidden;
constexpr double links = Links::size;
constexpr double head_weights = wide * static_cast<double>(Large::config.vocab);
constexpr double augment_layers = Links::last_source + 1;
constexpr double anchor_layers = Large::config.layers;
constexpr double layers_above = anchor_layers - static_cast<double>(Links::target[0]) - 1;
constexpr double augment_weights = augment_layers * block_weights<Small>();
constexpr double trunk_weights = anchor_layers * block_weights<Large>();
constexpr double bridge_weights = links * wide * (narrow + 4 * wide);

/// Of one token in a text of `time` tokens.
constexpr double training_flops(double time) {
  const double recorded = layers_above * block_weights<Large>() + head_weights;
  return 2 * augment_weights + 2 * (trunk_weights + head_weights) + 2 * recorded + 6 * bridge_weights +
         2 * time * (augment_layers * narrow + anchor_layers * wide + 2.5 * layers_above * wide + 3.5 * links * wide);
}
/// Of reading a prompt: the head is applied to the last token, W_p folded into W_K and W_V.
constexpr double folded_weights = links * wide * (2 * narrow + 2 * wide);
constexpr double prefill_flops(double time) {
  return time * 2 * (augment_weights + trunk_weights + folded_weights) + 2 * head_weights +
         time * 2 * time * (augment_layers * narrow + anchor_layers * wide + links * wide);
}
constexpr double decoding_bytes = 4 * (augment_weights + trunk_weights + folded_weights + head_weights);

Model& model() {
  static const auto made = [] {
    auto m = std::make_unique<Model>();
    calm::nn::initialise(m->anchor, {.seed = 1});
    calm::nn::initialise(m->augment, {.seed = 2});
    m->initialise_bridges();
    return m;
  }();
  return *made;
}

std::vector<calm::train::Example> texts(std::size_t count, std::size_t length) {
  std::vector<calm::train::Example> all(count);
  for (std::size_t b = 0; b < count; ++b) {
    for (std::size_t t = 0; t < length; ++t) all[b].tokens.push_back(static_cast<calm::Index>((b + t) * 7919 % 8192));
  }
  return all;
}

void report_tokens(benchmark::State& state, std::size_t tokens) {
  const double all = static_cast<double>(tokens) * static_cast<double>(state.iterations());
  state.counters["tokens/s"] = benchmark::Counter(all, benchmark::Counter::kIsRate);
}

/// Forward, backward, clipping and AdamW on two texts of 128 tokens.
void training_steps(benchmark::State& state, const auto& trained) {
  bench::machine();
  calm::train::AdamW optimizer(model());
  calm::Tape<calm::Cpu> tape;
  const auto examples = texts(2, prompt + 1);
  for (auto _ : state) {
    const auto batch = calm::train::collate<calm::Cpu>(examples);
    {
      const auto recording = tape.record();
      calm::backward(trained.loss(batch.tokens, batch.layout, batch.targets));
    }
    optimizer.clip_gradients(1);
    optimizer.step(1e-4);
    optimizer.zero_gradients();
  }
  report_tokens(state, 2 * prompt);
}

void training_step(benchmark::State& state) {
  training_steps(state, model());
  bench::report_flops(state, 2 * prompt * training_flops(prompt));
}

/// Of each anchor block above the first link its input alone is kept.
void training_step_checkpointed(benchmark::State& state) {
  model().anchor.checkpoint_every = 1;
  training_steps(state, model());
  model().anchor.checkpoint_every = 0;
}

/// As in a second epoch: what training never changes comes from a file.
void training_step_from_features(benchmark::State& state) {
  const auto path = std::filesystem::temp_directory_path() / ("calm-bench-" + std::to_string(::getpid()));
  const calm::train::FeatureCache cache(model(), {.path = path.string()});
  const auto first_epoch = calm::train::collate<calm::Cpu>(texts(2, prompt + 1));
  cache.features(first_epoch.tokens, first_epoch.layout);
  training_steps(state, cache);
  std::filesystem::remove(path);
}

struct Reader {
  Model::Caches caches = model().make_caches(1, Large::config.context);
  Tokens text = calm::train::collate<calm::Cpu>(texts(1, prompt + 1)).tokens;
  Tokens one = Tokens::zeros(calm::Shape<calm::Batch, calm::Time>(1, 1));

  /// Reads `tokens` (one text) at position `start`.
  void read(const Tokens& tokens, std::size_t start) {
    const std::vector<calm::Index> from{static_cast<calm::Index>(start)};
    const std::vector<calm::Index> count{static_cast<calm::Index>(tokens.size())};
    const std::vector<calm::Index> last{count[0] - 1};
    const auto layout = calm::nn::continue_at<calm::Cpu>(from, count, tokens.size());
    benchmark::DoNotOptimize(
        model().next_logits(tokens, layout, calm::nn::detail::per_text<calm::Cpu>(last), caches)[0]);
  }
};

/// One prompt of 128 tokens, up to the logits behind its last.
void prefill(benchmark::State& state) {
  bench::machine();
  Reader reader;
  for (auto _ : state) reader.read(reader.text, 0);
  bench::report_flops(state, prefill_flops(prompt));
  report_tokens(state, prompt);
}

/// One token behind 128 to 255 others.
void decode(benchmark::State& state) {
  bench::machine();
  Reader reader;
  reader.read(reader.text, 0);
  std::size_t step = 0;
  for (auto _ : state) reader.read(reader.one, prompt + step++ % (Large::config.context - prompt));
  bench::report_bytes(state, decoding_bytes);
  report_tokens(state, 1);
}

}  // namespace

BENCHMARK(training_step)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(training_step_checkpointed)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(training_step_from_features)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(prefill)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(decode)->Unit(benchmark::kMillisecond)->UseRealTime();
