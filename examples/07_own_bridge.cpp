/// \file  Lesson 7, a bridge of your own: an adapter that looks at one place, in the place of cross-attention.
///
/// Both models are random and know nothing, so what counts to 15 and begins anew, at the end, is this bridge alone.
#include <cstdio>
#include <cstring>
#include <vector>

#include <calm/compose/compose.hpp>
#include <calm/generate/generate.hpp>
#include <calm/tensor/ops/activation.hpp>
#include <calm/tensor/ops/norm.hpp>
#include <calm/tensor/ops/pick.hpp>
#include <calm/train/fit.hpp>

namespace {

/// up(silu(down(norm(a)))), of the augment's state a at the anchor's own position (after Houlsby et al. 2019).
///
/// Options with a member `Bridge` are all that a composition asks for: training, checkpoints, decoding with caches and
/// bridge files come with it. The state of the anchor is a Tensor at the first link and a Var above, hence `auto`.
struct Adapter {
  struct Narrow { static constexpr std::size_t extent = 16; };

  template <class Anchor, class Augment, class T, class Device>
  struct Bridge {
    using Down = calm::nn::Linear<calm::nn::Hidden<Augment>, Narrow, T, Device, calm::Trainable>;
    using Up = calm::nn::Linear<Narrow, calm::nn::Hidden<Anchor>, T, Device, calm::Trainable>;
    static constexpr std::size_t parameter_count = Down::parameter_count + Up::parameter_count;

    Down down_proj;
    Up o_proj;  // a matrix of this name begins at zero, so that a fresh bridge says nothing

    /// h: [Batch, Time, Hidden<Anchor>], a: [Batch, Source, Hidden<Augment>] -> what is added to h. `seen` are the
    /// places of a that each of h's may read; the last of them is its own. Whoever reads beyond it is not causal.
    auto operator()(const auto& /*h*/, const auto& a, const calm::KeyIntervals<Device>& seen) const {
      auto own = seen.end.clone();
      for (std::size_t i = 0; i < own.size(); ++i) --own.mutable_data()[i];
      return o_proj(calm::silu(down_proj(calm::rms_norm(calm::pick(a, own), 1e-6))));
    }

    void visit(auto&& v) {
      v("down_proj", down_proj);
      v("o_proj", o_proj);
    }
  };
};

using Config = calm::nn::TransformerConfig;
struct Large { static constexpr Config config{.vocab = 16, .hidden = 64, .layers = 4, .heads = 4, .context = 32}; };
struct Small { static constexpr Config config{.vocab = 16, .hidden = 32, .layers = 3, .heads = 2, .context = 32}; };
using Anchor = calm::nn::Transformer<Large, float, calm::Cpu>;
using Augment = calm::nn::Transformer<Small, float, calm::Cpu>;
using Links = calm::LayerMap<calm::Link<0, 1>, calm::Link<2, 3>>;
using Model = calm::Compose<Anchor, Augment, Links, Adapter>;
using Attending = calm::Compose<Anchor, Augment, Links>;  // the library's bridges

void counting(std::uint64_t i, calm::train::Example& example) {
  example.tokens.resize(12);
  for (auto& token : example.tokens) token = static_cast<calm::Index>(i++ % 16);
}

}  // namespace

int main() {
  Model model;
  calm::nn::initialise(model.anchor, {.seed = 1, .deviation = 0.1});
  calm::nn::initialise(model.augment, {.seed = 2, .deviation = 0.1});
  model.initialise_bridges();
  std::printf("parameters: %zu; of bridges that attend: %zu\n", Model::trainable_parameters,
              Attending::trainable_parameters);

  std::vector<calm::train::Example> examples(1);
  counting(0, examples[0]);
  const auto batch = calm::train::collate<calm::Cpu>(examples);
  const auto alone = model.anchor.logits(batch.tokens, batch.layout);
  const auto fresh = calm::value(model.logits(batch.tokens, batch.layout));
  const bool equal = std::memcmp(alone.data(), fresh.data(), fresh.size() * sizeof(float)) == 0;
  std::printf("a fresh composition is the anchor: %s\n", equal ? "yes, bit for bit" : "no");

  const auto loss = [&] { return calm::value(model.loss(batch.tokens, batch.layout, batch.targets))[0]; };
  std::printf("loss: %.4f fresh, ", loss());
  calm::train::fit(model, counting, {.steps = 100, .batch_size = 16, .learning_rate = 1e-2, .warmup_steps = 5});
  std::printf("%.4f trained\n", loss());
  for (auto token : calm::generate(model, {11, 12, 13}, {.max_new_tokens = 8})) std::printf("%d ", token);
  std::printf("\n");
}
// prints: parameters: 3072; of bridges that attend: [1-9]
// prints: is the anchor: yes, bit for bit
// prints: loss: [23][.][0-9]+ fresh, 0[.][0-3][0-9]+ trained
// prints: \n14 15 0 1 2 3 4 5 \n
