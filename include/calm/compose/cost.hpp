/// \file  What a composition costs, known before anything is allocated: parameters, FLOPs per token, bytes by purpose.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/compose/bridge_cost.hpp"
#include "calm/compose/compose.hpp"
#include "calm/nn/cost.hpp"
#include "calm/tensor/cpu/linear_cross_entropy.hpp"
#include "calm/tensor/cpu/packed_cross_entropy.hpp"
#include "calm/tensor/error.hpp"

namespace calm {

/// What is to be done with a composition.
enum class Purpose { training, decoding };

/// The cost of a composition for `batch` texts of `length` tokens, all links on, under whatever mask as if it were
/// causal. FLOPs count products alone (nn/cost.hpp), training with a target at every token. Bytes are what the pool
/// takes at the fullest moment, for texts without padding. Not in it is what kernels work in, per thread: panels of a
/// product, up to about 1.5 MiB, or in attention's backward pass the queries of one key head, length · width · 4 bytes
/// for each of its query heads. Weights that are mapped from a file come without the pool's rounding. Bytes are those
/// of the host: on a GPU packed matrices lie in no panels, and kernels need other memory.
struct Plan {
  std::size_t batch = 0, length = 0;
  std::size_t checkpoint_every = 0;  ///< of the anchor (nn/transformer.hpp)

  // Parameters that exist: nothing of the augment beyond its last link.
  std::size_t anchor_parameters = 0, augment_parameters = 0, trainable_parameters = 0;

  // FLOPs per token.
  double training_flops = 0;  ///< forward and backward, averaged over a text
  double prefill_flops = 0;   ///< a prompt of `length` tokens read into caches, averaged; logits of its last one alone
  double decoding_flops = 0;  ///< the token at place `length` of a text

  // Bytes of either purpose.
  std::size_t anchor_weights = 0, augment_weights = 0, bridge_weights = 0;

  // Bytes of training with AdamW.
  std::size_t gradients = 0;      ///< of the bridges
  std::size_t optimizer = 0;      ///< both moments, and exact copies of 16-bit parameters
  std::size_t activations = 0;    ///< kept for the backward pass
  std::size_t logits = 0;         ///< of one chunk, and the state's norm and gradient beside them
  std::size_t training_work = 0;  ///< the fullest moment elsewhere; it and `logits` never stand at once

  // Bytes of decoding, with caches for `length` tokens.
  std::size_t anchor_cache = 0, augment_cache = 0, bridge_cache = 0;
  std::size_t folded = 0;         ///< the bridges as decoding reads them
  std::size_t decoding_work = 0;  ///< reading prompts of `length` tokens in one pass

  /// The plan for other texts.
  constexpr Plan at(std::size_t texts, std::size_t tokens) const { return of_model(texts, tokens, checkpoint_every); }
  Plan (*of_model)(std::size_t batch, std::size_t length, std::size_t checkpoint_every) = nullptr;

  constexpr std::size_t weights() const { return anchor_weights + augment_weights + bridge_weights; }
  constexpr std::size_t caches() const { return anchor_cache + augment_cache + bridge_cache; }
  constexpr std::size_t bytes(Purpose purpose) const {
    if (purpose == Purpose::training)
      return weights() + gradients + optimizer + activations + std::max(logits, training_work);
    return weights() + caches() + folded + decoding_work;
  }
};

namespace detail {

/// f(branch, cost of one of its bridges), both as types, for each branch of a composition.
template <class Model, class F>
constexpr void over_branches(const F& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (f(std::type_identity<typename Model::template branch_type<I>>{},
       std::type_identity<BridgeCost<typename Model::anchor_type, typename Model::template branch_type<I>>>{}),
     ...);
  }(std::make_index_sequence<Model::branches>{});
}

/// Bytes of the states that the bridges of branch `B` read.
template <class B>
constexpr std::size_t linked_bytes(std::size_t tokens) {
  std::size_t layers = 0;
  for (std::size_t layer = 0; layer < B::augment_type::depth; ++layer) layers += reads_layer<B>(layer);
  return layers * TensorBytes{tokens, sizeof(typename B::value_type)}(B::augment_spec::config.hidden);
}

template <class Model>
constexpr void count_flops(Plan& plan) {
  using Anchor = typename Model::spec;
  constexpr std::size_t first = Model::stops::layers[0], layers = Anchor::config.layers;
  const std::size_t n = plan.length;
  plan.training_flops = nn::forward_flops<Anchor>(0, layers, n) + nn::backward_flops<Anchor>(first + 1, layers, n) +
                        2 * nn::head_flops<Anchor>();
  if (plan.checkpoint_every > 0) plan.training_flops += nn::forward_flops<Anchor>(first + 1, layers, n);
  plan.prefill_flops = nn::prefill_flops<Anchor>(n) + nn::head_flops<Anchor>() / static_cast<double>(n);
  plan.decoding_flops = nn::forward_flops<Anchor>(0, layers, n, true) + nn::head_flops<Anchor>();
  over_branches<Model>([&]<class B, class Bridge>(std::type_identity<B>, std::type_identity<Bridge>) {
    constexpr std::size_t depth = B::augment_type::depth;
    const double augment = nn::forward_flops<typename B::augment_spec>(0, depth, n), seen = nn::mean_keys(n);
    constexpr auto links = static_cast<double>(B::links);
    plan.training_flops += augment;
    plan.prefill_flops += augment;
    for (const std::size_t layer : B::map::target) {
      plan.training_flops += Bridge::training_flops(layer == first, seen);
      plan.prefill_flops += Bridge::prefill_flops(layer + 1 == layers, n);
    }
    plan.decoding_flops += nn::forward_flops<typename B::augment_spec>(0, depth, n, true) +
                           links * Bridge::decoding_flops(nn::last_keys(n));
  });
}

template <class Model>
constexpr void count_training_bytes(Plan& plan) {
  using T = typename Model::value_type;
  using A = Accumulator<T>;
  using Block = nn::BlockCost<typename Model::spec, T, typename Model::anchor_type::mode>;
  constexpr nn::TransformerConfig c = Model::spec::config;
  constexpr std::size_t stops = Model::stops::count, first = Model::stops::layers[0];
  const std::size_t tokens = plan.batch * plan.length;
  const TensorBytes of{tokens, sizeof(T)}, indices{tokens, sizeof(Index)};
  std::size_t linked = 0, bridges = 0, bridge_work = 0, augment_work = 0, parameters = 0;
  over_branches<Model>([&]<class B, class Bridge>(std::type_identity<B>, std::type_identity<Bridge>) {
    plan.gradients += B::links * Bridge::weights();
    plan.optimizer += B::links * Bridge::optimizer();
    parameters += B::links * Bridge::over_parameters([](std::size_t) { return std::size_t{1}; });
    linked += linked_bytes<B>(tokens);
    bridges += B::links * Bridge::kept(tokens);
    bridge_work = std::max(bridge_work, Bridge::backward(tokens));
    using Augment = nn::BlockCost<typename B::augment_spec, T, typename B::augment_type::mode>;
    augment_work = std::max(augment_work, Augment::forward(tokens));
  });
  plan.optimizer += pooled_bytes(parameters * sizeof(double));  // the gradients' sums of squares
  // Several branches read copies of a state; each copy has a gradient.
  bridge_work += Model::branches > 1 ? Model::branches * of(c.hidden) : 0;
  std::size_t locals = 0, checkpoints = 0;
  for (std::size_t i = first + 1; i < c.layers; ++i) locals += Model::spec::config.is_local(i);
  for (std::size_t i = 0; i < stops; ++i) {
    const std::size_t begin = Model::stops::layers[i] + 1;
    const std::size_t end = i + 1 < stops ? Model::stops::layers[i + 1] + 1 : c.layers;
    checkpoints += nn::stretches<typename Model::spec>(begin, end, plan.checkpoint_every);
  }
  const std::size_t recorded = c.layers - 1 - first, again = std::min(plan.checkpoint_every, recorded);
  const std::size_t tables = (locals > 0) + (locals < recorded);
  plan.activations = (again > 0 ? checkpoints * of(c.hidden) : recorded * Block::kept(tokens)) +
                     tables * Block::rotations(tokens) + bridges + stops * of(c.hidden) + linked +
                     Block::norm_input(tokens) + 6 * indices(1);

  // Chunks of logits as linear_cross_entropy cuts them; a weight of 16 bits that is not packed is widened for them.
  constexpr std::size_t most = Block::packed ? kernel::packed_logits : kernel::detail::chunk_rows(c.vocab, sizeof(A));
  const std::size_t chunk = std::min(tokens, most);
  plan.logits = 2 * of(c.hidden) + pooled_bytes(chunk * (c.vocab + (Block::packed ? 1 : 2) * c.hidden) * sizeof(A)) +
                (sizeof(T) < sizeof(A) ? pooled_bytes(c.vocab * c.hidden * sizeof(A)) : 0) + pooled_bytes(chunk * 8) +
                indices(2);
  const bool bridge_on_top = Model::stops::layers[stops - 1] + 1 == c.layers;
  const std::size_t blocks = again * Block::kept(tokens) + Block::backward(tokens);
  const std::size_t backward = bridge_on_top ? std::max(bridge_work, again > 0 ? blocks : 0) : blocks;
  // Below the first link nothing is kept; with links near the top, that is the fullest.
  const std::size_t below = linked + std::max(Block::forward(tokens), augment_work);
  plan.training_work = std::max(backward, below > plan.activations ? below - plan.activations : 0);
}

template <class Model>
constexpr void count_decoding_bytes(Plan& plan) {
  using T = typename Model::value_type;
  using Block = nn::BlockCost<typename Model::spec, T, typename Model::anchor_type::mode>;
  constexpr nn::TransformerConfig c = Model::spec::config;
  const std::size_t tokens = plan.batch * plan.length;
  const TensorBytes of{tokens, sizeof(T)}, rows{plan.batch, sizeof(T)}, indices{tokens, sizeof(Index)};
  plan.anchor_cache = c.layers * Block::cache(plan.batch, plan.length);
  const std::size_t head = of(c.hidden) + 2 * rows(c.hidden) + rows(c.vocab) +
                           nn::widened_bytes<T>(plan.batch, c.hidden, c.vocab);
  std::size_t work = std::max(Block::forward(tokens), head);
  over_branches<Model>([&]<class B, class Bridge>(std::type_identity<B>, std::type_identity<Bridge>) {
    using AugmentBlock = nn::BlockCost<typename B::augment_spec, T, typename B::augment_type::mode>;
    plan.augment_cache += B::augment_type::depth * AugmentBlock::cache(plan.batch, plan.length);
    plan.bridge_cache += B::links * Bridge::cache(plan.batch, plan.length);
    plan.folded += B::links * Bridge::folded();
    const std::size_t linked = linked_bytes<B>(tokens);
    const std::size_t remembered = linked + of(Bridge::augment) + 2 * of(Bridge::keys);
    work = std::max({work, linked + AugmentBlock::forward(tokens), remembered, Bridge::forward(tokens)});
  });
  plan.decoding_work = 3 * indices(1) + work;
}

}  // namespace detail

/// What composition `Model` costs for `batch` texts of `length` tokens, a constant where these are. What a joining
/// policy adds (scores and shares, [Batch, Time, heads]) is left out.
template <class Model>
constexpr Plan plan(std::size_t batch, std::size_t length, std::size_t checkpoint_every = 0) {
  using Anchor = typename Model::anchor_type;
  Plan p{.batch = batch, .length = length, .checkpoint_every = checkpoint_every, .of_model = &plan<Model>};
  p.anchor_parameters = Anchor::parameter_count;
  p.trainable_parameters = Model::trainable_parameters;
  p.anchor_weights = nn::transformer_bytes<typename Anchor::spec, typename Model::value_type, typename Anchor::mode>();
  detail::over_branches<Model>([&]<class B, class Bridge>(std::type_identity<B>, std::type_identity<Bridge>) {
    using Augment = typename B::augment_type;
    p.augment_parameters += Augment::parameter_count;
    p.augment_weights +=
        nn::trunk_bytes<typename Augment::spec, typename Model::value_type, typename Augment::mode>(Augment::depth);
    p.bridge_weights += B::links * Bridge::weights();
  });
  detail::count_flops<Model>(p);
  detail::count_training_bytes<Model>(p);
  detail::count_decoding_bytes<Model>(p);
  return p;
}

namespace detail {

/// "12.3 MiB", "4.56 GFLOP": three digits and a unit.
inline std::string with_unit(double x, double base, const std::array<const char*, 5>& units) {
  std::size_t i = 0;
  while (x >= base && i + 1 < units.size()) x /= base, ++i;
  std::array<char, 48> text{};
  const int decimals = x >= 100 || i == 0 ? 0 : x >= 10 ? 1 : 2;
  std::snprintf(text.data(), text.size(), "%.*f %s", decimals, x, units[i]);
  return text.data();
}
inline std::string bytes_text(std::size_t n) {
  return with_unit(static_cast<double>(n), 1024, {"B", "KiB", "MiB", "GiB", "TiB"});
}
inline std::string flops_text(double n) {
  return with_unit(n, 1000, {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"});
}

/// The largest n below `most` with bytes(n) <= available; 0 if there is none. More texts or tokens never take less.
template <class F>
std::size_t largest_that_fits(std::size_t most, std::size_t available, const F& bytes) {
  std::size_t fits = 0, too_many = most;
  while (fits + 1 < too_many) {
    const std::size_t middle = fits + (too_many - fits) / 2;
    (bytes(middle) <= available ? fits : too_many) = middle;
  }
  return fits;
}

}  // namespace detail

/// A plan as a table, for people.
inline std::string to_string(const Plan& p) {
  std::string text = std::to_string(p.batch) + " texts of " + std::to_string(p.length) + " tokens\n";
  const auto line = [&](std::string name, const std::string& what) {
    name.resize(27, ' ');
    text += name + what + '\n';
  };
  const auto bytes = [&](const char* name, std::size_t n) { line(name, detail::bytes_text(n)); };
  line("parameters", std::to_string(p.anchor_parameters) + " anchor, " + std::to_string(p.augment_parameters) +
                         " augment, " + std::to_string(p.trainable_parameters) + " trainable");
  line("per token, training", detail::flops_text(p.training_flops));
  line("per token, prefill", detail::flops_text(p.prefill_flops));
  line("per token, decoding", detail::flops_text(p.decoding_flops));
  bytes("weights of the anchor", p.anchor_weights);
  bytes("weights of the augment", p.augment_weights);
  bytes("weights of the bridges", p.bridge_weights);
  bytes("gradients", p.gradients);
  bytes("optimizer", p.optimizer);
  bytes("activations", p.activations);
  bytes("logits", p.logits);
  bytes("or backward work", p.training_work);
  bytes("training in all", p.bytes(Purpose::training));
  bytes("cache of the anchor", p.anchor_cache);
  bytes("cache of the augment", p.augment_cache);
  bytes("cache of the bridges", p.bridge_cache);
  bytes("folded bridges", p.folded);
  bytes("reading the prompts", p.decoding_work);
  bytes("decoding in all", p.bytes(Purpose::decoding));
  return text;
}

/// Throws `Error`, before anything is allocated, if `available` bytes are too few for what is planned. The message
/// names both, and the most texts, or the longest ones, that would fit.
inline void require_fits(const Plan& p, std::size_t available, Purpose purpose = Purpose::training) {
  detail::require(p.bytes(purpose) <= available, [&] {
    const auto batch = detail::largest_that_fits(p.batch, available, [&](std::size_t n) {
      return p.at(n, p.length).bytes(purpose);
    });
    const auto length = detail::largest_that_fits(p.length, available, [&](std::size_t n) {
      return p.at(p.batch, n).bytes(purpose);
    });
    std::string advice;
    if (batch > 0) advice = "a batch of " + std::to_string(batch);
    if (length > 0) advice += std::string(batch > 0 ? ", or " : "") + "a length of " + std::to_string(length);
    return std::string("calm::require_fits: ") + (purpose == Purpose::training ? "training on " : "decoding ") +
           std::to_string(p.batch) + " texts of " + std::to_string(p.length) + " tokens takes " +
           std::to_string(p.bytes(purpose)) + " bytes, available are " + std::to_string(available) + "; " +
           (advice.empty() ? std::string("not even one text, or one token of each, fits")
                           : advice + " would fit");
  });
}

}  // namespace calm
