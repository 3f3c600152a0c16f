/// \file  calm's half of bench/peers/run: does what its input asks, one word a line, and answers with a line each.
///
///     composition fp32|packed|packed32 [FOLDER]
///
/// Activations and bridges are in fp32; "packed" keeps the frozen weights in bf16, "packed32" in fp32, both in panels.
/// FOLDER, where given, gets the weights, for the other half. The jobs are step, cached, prefill and decode, the
/// last two of the anchor alone, and bandwidth: what the machine reads on all threads, in GB/s.
#include <cstddef>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "composition.hpp"
#include "machine.hpp"
#include "serve.hpp"

namespace {

constexpr std::size_t texts = 4, length = 512, decoded = 128;
using calm::Cpu;

/// One text that a model reads.
template <class Model>
class Reader {
 public:
  explicit Reader(const Model& model) : model_(model) {}

  /// Reads a text of 512 tokens; the token that is likeliest behind it.
  double prefill() {
    caches_.emplace(model_.make_caches(1, length + decoded));
    position_ = 0;
    return static_cast<double>(next_ = read(calm::train::collate<Cpu>(bench::texts(1, length + 1)).tokens));
  }
  /// Adds 128 tokens, each the likeliest; the last of them.
  double decode() {
    if (!caches_) prefill();
    position_ = length;
    for (std::size_t i = 0; i < decoded; ++i)
      next_ = read(calm::nn::Tokens<Cpu>::full(calm::Shape<calm::Batch, calm::Time>(1, 1), next_));
    return static_cast<double>(next_);
  }

 private:
  calm::Index read(const calm::nn::Tokens<Cpu>& tokens) {
    using calm::Index;
    const auto count = static_cast<Index>(tokens.size());
    const std::vector<Index> from{static_cast<Index>(position_)}, counts{count}, last{count - 1};
    const auto layout = calm::nn::continue_at<Cpu>(from, counts, tokens.size());
    const auto logits = model_.next_logits(tokens, layout, calm::nn::detail::per_text<Cpu>(last), *caches_);
    position_ += tokens.size();
    return calm::argmax(logits.data(), bench::Large::config.vocab);
  }

  const Model& model_;
  std::optional<typename Model::Caches> caches_;
  std::size_t position_ = 0;
  calm::Index next_ = 0;
};

template <class T, class Mode>
class Peer {
  using Pair = bench::Pair<T, Mode>;
  using Model = typename Pair::Model;
  std::unique_ptr<Model> model_ = std::make_unique<Model>();

 public:
  explicit Peer(const std::string& folder) {
    Pair::initialise(*model_);
    if (folder.empty()) return;
    calm::io::save_module(model_->anchor, folder + "/anchor.safetensors");
    calm::io::save_module(model_->augment, folder + "/augment.safetensors");
    calm::io::save_module(*model_, folder + "/bridges.safetensors");
  }

  /// Forward, backward, clipping and AdamW; the loss before it.
  double step() { return step_of(*model_); }

  /// The same as from the second epoch on: what training never changes comes from a file.
  double cached() {
    if (!cache_) cache_.emplace(*model_, calm::train::FeatureCacheOptions{.path = features_.string()});
    const double loss = step_of(*cache_);
    std::filesystem::remove(features_);  // open, so it lasts as long as this process
    return loss;
  }

  Reader<Model> pair{*model_};
  Reader<typename Pair::Anchor> anchor{model_->anchor};

 private:
  double step_of(const auto& trained) {
    if (!optimizer_) optimizer_.emplace(*model_);
    const auto batch = calm::train::collate<Cpu>(bench::texts(texts, length + 1));
    double loss = 0;
    {
      const auto recording = tape_.record();
      const auto mean = trained.loss(batch.tokens, batch.layout, batch.targets);
      loss = static_cast<double>(static_cast<float>(mean.value[0]));
      calm::backward(mean);
    }
    optimizer_->clip_gradients(1);
    optimizer_->step(1e-4);
    optimizer_->zero_gradients();
    return loss;
  }

  calm::Tape<Cpu> tape_;
  std::optional<calm::train::AdamW<>> optimizer_;
  std::optional<calm::train::FeatureCache<Model>> cache_;
  std::filesystem::path features_ =
      std::filesystem::temp_directory_path() / ("calm-peer-" + std::to_string(::time({})));
};

template <class T, class Mode>
void serve(const std::string& folder) {
  Peer<T, Mode> peer(folder);
  bench::serve({{"step", [&] { return peer.step(); }},
                {"cached", [&] { return peer.cached(); }},
                {"prefill", [&] { return peer.pair.prefill(); }},
                {"decode", [&] { return peer.pair.decode(); }},
                {"anchor_prefill", [&] { return peer.anchor.prefill(); }},
                {"anchor_decode", [&] { return peer.anchor.decode(); }},
                {"bandwidth", [] { return bench::measure_read_bandwidth() / 1e9; }}});
}

}  // namespace

int main(int argc, char** argv) {
  const std::string type = argc > 1 ? argv[1] : "fp32", folder = argc > 2 ? argv[2] : "";
  if (type == "packed")
    serve<float, calm::FrozenAs<calm::bf16>>(folder);
  else if (type == "packed32")
    serve<float, calm::FrozenAs<float>>(folder);
  else
    serve<float, calm::Frozen>(folder);
}
