/// \file  What a composition costs, known before anything is allocated: parameters, FLOPs per token, bytes by purpose.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <string>
#include <type_traits>

#include "calm/compose/compose.hpp"
#include "calm/nn/cost.hpp"
#include "calm/tensor/error.hpp"
#include "calm/tensor/var.hpp"  // Frozen

namespace calm {

/// What is to be done with a composition.
enum class Purpose { training, decoding };

/// The cost of a composition for `batch` texts of `length` tokens, all links on, under whatever mask as if it were
/// causal. FLOPs count products alone (nn/cost.hpp), training with a target at every token. Bytes are what the pool
/// takes at the fullest moment, for texts without padding. Not in it is what kernels work in, per thread: panels of a
/// product, up to about 1.5 MiB, or in attention's backward pass the queries of one key head, length · width · 4 bytes
/// for each of its query heads. Weights that are mapped from a file come without the pool's rounding.
struct Plan {
  std::size_t batch = 0, length = 0;

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
  std::size_t folded = 0;         ///< the bridges' projections folded into keys and values
  std::size_t decoding_work = 0;  ///< reading prompts of `length` tokens in one pass

  /// The plan for other texts.
  Plan (*at)(std::size_t batch, std::size_t length) = nullptr;

  constexpr std::size_t weights() const { return anchor_weights + augment_weights + bridge_weights; }
  constexpr std::size_t caches() const { return anchor_cache + augment_cache + bridge_cache; }
  constexpr std::size_t bytes(Purpose purpose) const {
    if (purpose == Purpose::training)
      return weights() + gradients + optimizer + activations + std::max(logits, training_work);
    return weights() + caches() + folded + decoding_work;
  }
};

namespace detail {

/// One bridge of composition `Model`. The bare formula is §3.1's; what the options add is in compose/bridge.hpp.
template <class Model>
struct BridgeCost {
  using Bridge = typename Model::bridge_type;
  using T = typename Model::value_type;
  using Moment = std::conditional_t<(sizeof(T) > sizeof(float)), double, float>;
  static constexpr auto c = Bridge::config;
  static constexpr std::size_t anchor = Model::spec::config.hidden, augment = Model::augment_type::spec::config.hidden;
  static constexpr std::size_t heads = Bridge::Head::extent, wide = Bridge::Wide::extent,
                               keys = Bridge::KeyWide::extent;
  static constexpr bool sigmoid = c.gate == BridgeGate::sigmoid;

  // Multiply-adds per token of the weights.
  static constexpr std::size_t first_projection = augment * (c.rank ? c.rank : anchor);
  static constexpr std::size_t projection = first_projection + c.rank * anchor;
  static constexpr std::size_t queries = anchor * wide + (sigmoid ? anchor * heads : 0);
  static constexpr std::size_t products = projection + queries + 2 * anchor * keys + wide * anchor;
  static constexpr std::size_t folded_products = queries + 2 * augment * keys + wide * anchor;

  /// Forward, dW and dX, each only where it is needed: raw states of the augment are constants, and so is the anchor's
  /// below the first link.
  static constexpr double training_flops(bool first_stop, double seen) {
    const std::size_t without_dx =
        (c.normalise_augment ? 0 : first_projection) + (c.normalise_query || !first_stop ? 0 : queries);
    return 2.0 * static_cast<double>(3 * products - without_dx) + 14.0 * static_cast<double>(wide) * seen;
  }
  static constexpr double decoding_flops(double seen) {
    return 2.0 * static_cast<double>(folded_products) + 4.0 * static_cast<double>(wide) * seen;
  }

  /// The sum of f(elements) over the parameters.
  template <class F>
  static constexpr std::size_t over_parameters(const F& f) {
    const auto linear = [&](std::size_t in, std::size_t out, bool bias) { return f(in * out) + (bias ? f(out) : 0); };
    std::size_t n = linear(anchor, wide, c.bias) + 2 * linear(anchor, keys, c.bias) + linear(wide, anchor, c.bias);
    n += c.rank ? linear(augment, c.rank, false) + linear(c.rank, anchor, c.bias) : linear(augment, anchor, c.bias);
    if (c.normalise_query) n += f(anchor);
    if (c.normalise_augment) n += f(augment);
    if (c.normalise_output) n += f(anchor);
    if (c.sink) n += f(heads);
    if (c.gate == BridgeGate::tanh) n += f(1);
    if (c.gate == BridgeGate::tanh_per_head) n += f(heads);
    if (sigmoid) n += linear(anchor, heads, true);
    return n;
  }
  static constexpr std::size_t weights() {
    return over_parameters([](std::size_t n) { return pooled_bytes(n * sizeof(T)); });
  }
  static constexpr std::size_t optimizer() {
    constexpr std::size_t copies = sizeof(T) < sizeof(float) ? 3 : 2;
    return over_parameters([](std::size_t n) { return copies * pooled_bytes(n * sizeof(Moment)); });
  }
  static constexpr std::size_t cache(std::size_t batch, std::size_t capacity) {
    return 2 * pooled_bytes(batch * capacity * keys * sizeof(T));
  }
  static constexpr std::size_t folded() {
    return 2 * nn::linear_bytes(augment, keys, c.bias, sizeof(T));
  }

  /// What the nodes keep, the two states themselves excepted: other links may share those.
  static constexpr std::size_t kept(std::size_t tokens) {
    const TensorBytes of{tokens, sizeof(T)}, sums{tokens, sizeof(Accumulator<T>)};
    const bool gates_output = c.normalise_output || c.gate == BridgeGate::tanh;
    const bool gates_heads = c.gate == BridgeGate::tanh_per_head || sigmoid;
    return (c.normalise_query ? of(anchor) + sums(1) : 0) + (c.normalise_augment ? of(augment) + sums(1) : 0) +
           of(anchor) + (c.rank ? of(c.rank) : 0) + 2 * of(keys) + 2 * of(wide) + sums(heads) +
           (gates_heads ? of(wide) : 0) + (sigmoid ? 2 * of(heads) : 0) + (gates_output ? of(anchor) : 0) +
           (c.normalise_output ? of(anchor) + sums(1) : 0);
  }
  /// What a forward pass that keeps nothing has in hand.
  static constexpr std::size_t forward(std::size_t tokens) {
    const TensorBytes of{tokens, sizeof(T)};
    return 4 * of(anchor) + 2 * of(wide) + nn::widened_bytes<T>(tokens, anchor, wide);
  }
  /// What the backward pass has beyond all that was kept, where this link is behind the last block.
  static constexpr std::size_t backward(std::size_t tokens) {
    const TensorBytes of{tokens, sizeof(T)};
    return of(anchor) + 2 * of(wide) + 2 * of(keys) + nn::widened_bytes<T>(tokens, anchor, wide);
  }
};

/// How many augment layers have links.
template <class Map>
constexpr std::size_t linked_layers() {
  std::size_t n = 1;
  for (std::size_t i = 1; i < Map::size; ++i) {
    n += Map::augment[Map::by_augment_layer[i]] != Map::augment[Map::by_augment_layer[i - 1]];
  }
  return n;
}

template <class Model>
constexpr void count_flops(Plan& plan) {
  using Map = typename Model::map;
  using Anchor = typename Model::spec;
  using Augment = typename Model::augment_type::spec;
  using Bridge = BridgeCost<Model>;
  constexpr std::size_t above = Map::first_anchor_layer + 1, layers = Anchor::config.layers;
  constexpr std::size_t depth = Model::augment_type::depth;
  const std::size_t n = plan.length;
  const double seen = nn::mean_keys(n);
  double bridges = 0;
  for (std::size_t i = 0; i < Map::size; ++i) bridges += Bridge::training_flops(i < Map::stop[1], seen);
  plan.training_flops = nn::forward_flops<Augment>(0, depth, n) + nn::forward_flops<Anchor>(0, layers, n) + bridges +
                        nn::backward_flops<Anchor>(above, layers, n) + 2 * nn::head_flops<Anchor>();
  constexpr auto links = static_cast<double>(Map::size);
  plan.prefill_flops = nn::forward_flops<Augment>(0, depth, n) + nn::forward_flops<Anchor>(0, layers, n) +
                       links * Bridge::decoding_flops(seen) + nn::head_flops<Anchor>() / static_cast<double>(n);
  plan.decoding_flops = nn::forward_flops<Augment>(0, depth, n, true) +
                        nn::forward_flops<Anchor>(0, layers, n, true) +
                        links * Bridge::decoding_flops(nn::last_keys(n)) + nn::head_flops<Anchor>();
}

template <class Model>
constexpr void count_training_bytes(Plan& plan) {
  using T = typename Model::value_type;
  using A = Accumulator<T>;
  using Map = typename Model::map;
  using Block = nn::BlockCost<typename Model::spec, T>;
  using AugmentBlock = nn::BlockCost<typename Model::augment_type::spec, T>;
  using Bridge = BridgeCost<Model>;
  constexpr nn::TransformerConfig c = Model::spec::config;
  constexpr std::size_t last = Map::anchor[Map::size - 1], above = c.layers - 1 - Map::first_anchor_layer;
  const std::size_t tokens = plan.batch * plan.length;
  const TensorBytes of{tokens, sizeof(T)}, sums{tokens, sizeof(A)}, indices{tokens, sizeof(Index)};
  const std::size_t linked = linked_layers<Map>() * of(Bridge::augment);
  plan.gradients = Map::size * Bridge::weights();
  plan.optimizer = Map::size * Bridge::optimizer();
  plan.activations = above * Block::kept(tokens) + Map::size * Bridge::kept(tokens) + Map::stops * of(c.hidden) +
                     linked + of(c.hidden) + sums(Block::statistics) + 6 * indices(1);

  // Chunks of logits as linear_cross_entropy cuts them; a weight of 16 bits is widened for them.
  const std::size_t most = std::clamp<std::size_t>((std::size_t{1} << 20) / (c.vocab * sizeof(A)), 16, 1024);
  const std::size_t chunk = std::min(tokens, most);
  plan.logits = 2 * of(c.hidden) + pooled_bytes(chunk * (c.vocab + 2 * c.hidden) * sizeof(A)) +
                (sizeof(T) < sizeof(A) ? pooled_bytes(c.vocab * c.hidden * sizeof(A)) : 0) + pooled_bytes(chunk * 8) +
                indices(2);
  const std::size_t backward = last + 1 == c.layers ? Bridge::backward(tokens) : Block::backward(tokens);
  // Below the first link nothing is kept; with links near the top, that is the fullest.
  const std::size_t below = linked + std::max(Block::forward(tokens), AugmentBlock::forward(tokens));
  plan.training_work = std::max(backward, below > plan.activations ? below - plan.activations : 0);
}

template <class Model>
constexpr void count_decoding_bytes(Plan& plan) {
  using T = typename Model::value_type;
  using Map = typename Model::map;
  using Block = nn::BlockCost<typename Model::spec, T>;
  using AugmentBlock = nn::BlockCost<typename Model::augment_type::spec, T>;
  using Bridge = BridgeCost<Model>;
  constexpr nn::TransformerConfig c = Model::spec::config;
  const std::size_t tokens = plan.batch * plan.length;
  const TensorBytes of{tokens, sizeof(T)}, rows{plan.batch, sizeof(T)}, indices{tokens, sizeof(Index)};
  plan.anchor_cache = c.layers * Block::cache(plan.batch, plan.length);
  plan.augment_cache = Model::augment_type::depth * AugmentBlock::cache(plan.batch, plan.length);
  plan.bridge_cache = Map::size * Bridge::cache(plan.batch, plan.length);
  plan.folded = Map::size * Bridge::folded();
  const std::size_t linked = linked_layers<Map>() * of(Bridge::augment);
  const std::size_t remembered = linked + of(Bridge::augment) + 2 * of(Bridge::keys);
  const std::size_t head = of(c.hidden) + 2 * rows(c.hidden) + rows(c.vocab) +
                           nn::widened_bytes<T>(plan.batch, c.hidden, c.vocab);
  plan.decoding_work = 3 * indices(1) + std::max({linked + AugmentBlock::forward(tokens), remembered,
                                                  Block::forward(tokens), Bridge::forward(tokens), head});
}

}  // namespace detail

/// What composition `Model` costs for `batch` texts of `length` tokens, a constant where these are.
template <class Model>
constexpr Plan plan(std::size_t batch, std::size_t length) {
  using Anchor = typename Model::anchor_type;
  using Augment = typename Model::augment_type;
  static_assert(std::is_same_v<typename Anchor::mode, Frozen>,
                "calm::plan: the anchor is not frozen; only the cost of bridges between frozen models is known");
  Plan p{.batch = batch, .length = length, .at = &plan<Model>};
  p.anchor_parameters = Anchor::parameter_count;
  p.augment_parameters = Augment::parameter_count;
  p.trainable_parameters = Model::trainable_parameters;
  p.anchor_weights = nn::transformer_bytes<typename Anchor::spec, typename Model::value_type>();
  p.augment_weights = nn::trunk_bytes<typename Augment::spec, typename Model::value_type>(Augment::depth);
  p.bridge_weights = Model::links * detail::BridgeCost<Model>::weights();
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
  bytes("folded projections", p.folded);
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
