/// \file  What one bridge of a composition costs, from its configuration alone.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/compose/bridge.hpp"
#include "calm/nn/cost.hpp"

namespace calm::detail {

/// One bridge of branch `B` of a composition with `Anchor`. The bare formula is §3.1's; what the options add is in
/// compose/bridge.hpp.
template <class Anchor, class B>
struct BridgeCost {
  static_assert(requires { B::bridge_type::config; },
                "calm::plan: the cost of a bridge of your own is not known; only of those with a BridgeConfig");
  static_assert(!requires { B::backs; }, "calm::plan: the cost of an augment that reads the anchor is not known");
  using Bridge = typename B::bridge_type;
  using T = typename B::value_type;
  using Moment = std::conditional_t<(sizeof(T) > sizeof(float)), double, float>;
  static constexpr auto c = Bridge::config;
  static constexpr std::size_t anchor = Anchor::spec::config.hidden, augment = B::augment_spec::config.hidden;
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
        (c.normalise_augment || Bridge::mixed ? 0 : first_projection) +
        (c.normalise_query || !first_stop ? 0 : queries);
    return 2.0 * static_cast<double>(3 * products - without_dx) + 14.0 * static_cast<double>(wide) * seen;
  }
  static constexpr double decoding_flops(double seen) {
    return 2.0 * static_cast<double>(folded_products) + 4.0 * static_cast<double>(wide) * seen;
  }
  /// Of a token of a prompt; behind the anchor's last layer the prompt's last token alone has queries.
  static constexpr double prefill_flops(bool last_layer, std::size_t length) {
    if (!last_layer) return decoding_flops(nn::mean_keys(length));
    const double kept = 4.0 * static_cast<double>(augment * keys);
    return kept + (decoding_flops(nn::last_keys(length)) - kept) / static_cast<double>(length);
  }

  /// The sum of f(elements) over the parameters.
  template <class F>
  static constexpr std::size_t over_parameters(const F& f) {
    const auto linear = [&](std::size_t in, std::size_t out, bool bias) { return f(in * out) + (bias ? f(out) : 0); };
    std::size_t n = linear(anchor, wide, c.bias) + 2 * linear(anchor, keys, c.bias) + linear(wide, anchor, c.bias);
    n += c.rank ? linear(augment, c.rank, false) + linear(c.rank, anchor, c.bias) : linear(augment, anchor, c.bias);
    if (sigmoid) n += linear(anchor, heads, true);
    return n + over_vectors(f);
  }
  /// The same of those that are neither in a product nor added behind one.
  template <class F>
  static constexpr std::size_t over_vectors(const F& f) {
    std::size_t n = 0;
    if (c.normalise_query) n += f(anchor);
    if (c.normalise_augment) n += f(augment);
    if (c.normalise_output) n += f(anchor);
    if (c.normalise_keys) n += f(Bridge::Width::extent);
    if (Bridge::mixed) n += f(c.mix);
    if (c.sink) n += f(heads);
    if (c.gate == BridgeGate::tanh) n += f(1);
    if (c.gate == BridgeGate::tanh_per_head) n += f(heads);
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
    using Mode = typename B::augment_type::mode;
    return 2 * pooled_bytes(batch * capacity * keys * sizeof(typename CachedAs<T, Mode>::type));
  }
  static constexpr std::size_t folded() {
    using Mode = typename B::augment_type::mode;
    return 2 * nn::linear_bytes<T, Mode>(augment, keys, c.bias) + nn::linear_bytes<T, Mode>(anchor, wide, c.bias) +
           nn::linear_bytes<T, Mode>(wide, anchor, c.bias) +
           (sigmoid ? nn::linear_bytes<T, Mode>(anchor, heads, true) : 0) +
           over_vectors([](std::size_t n) { return pooled_bytes(n * sizeof(T)); });
  }

  /// What the nodes keep, the two states themselves excepted: other links may share those.
  static constexpr std::size_t kept(std::size_t tokens) {
    const TensorBytes of{tokens, sizeof(T)}, sums{tokens, sizeof(Accumulator<T>)};
    const bool gates_output = c.normalise_output || c.gate == BridgeGate::tanh;
    const bool gates_heads = c.gate == BridgeGate::tanh_per_head || sigmoid;
    return (c.normalise_query ? of(anchor) + sums(1) : 0) +
           (c.normalise_augment ? c.mix * (of(augment) + sums(1)) : 0) + (Bridge::mixed ? of(augment) : 0) +
           (c.normalise_keys ? of(keys) + sums(Bridge::KeyHead::extent) : 0) + of(anchor) + (c.rank ? of(c.rank) : 0) +
           2 * of(keys) + 2 * of(wide) + sums(heads) +
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

}  // namespace calm::detail
