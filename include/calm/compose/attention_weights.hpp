/// \file  What a bridge's heads attend to, as numbers: for pictures and tests, never in training.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>

#include "calm/compose/link_place.hpp"
#include "calm/compose/pass.hpp"
#include "calm/nn/layout.hpp"
#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/ops/attention.hpp"

namespace calm {

/// Attention weights of one bridge. Of a query that sees a key, those of all keys and of nothing add up to 1.
template <class T, class Head>
struct AttentionWeights {
  Tensor<T, Cpu, Batch, Head, Time, Source> keys;  ///< 0 where a key is not seen
  Tensor<T, Cpu, Batch, Head, Time> nothing;       ///< what goes to the sink; 0 where there is none
  bool has_sink = false;
};

namespace detail {

template <class Bridge, class T>
using WeightsOf = AttentionWeights<Accumulator<T>, typename Bridge::Head>;

/// Scores of the keys in `bounds` become weights; what the sink gets of them is returned.
template <class A>
A weigh(A* scores, const kernel::detail::KeyBounds& bounds, const A* sink) {
  A top = sink ? *sink : -std::numeric_limits<A>::infinity();
  for (std::size_t j = bounds.begin; j < bounds.end; ++j) top = std::max(top, scores[j]);
  A sum = sink ? std::exp(*sink - top) : A(0);
  const A at_sink = sum;
  for (std::size_t j = bounds.begin; j < bounds.end; ++j) sum += scores[j] = std::exp(scores[j] - top);
  for (std::size_t j = bounds.begin; j < bounds.end; ++j) scores[j] /= sum;
  return sink ? at_sink / sum : A(0);
}

}  // namespace detail

/// The weights with which `bridge` reads `source` for state h, [Batch, Head, Time, Source], by plain arithmetic on the
/// host from its own queries and keys: weights · values is what `Bridge::write` makes its result of.
///
/// h: [Batch, Time, Hidden<Anchor>]; source: [Batch, Source, Hidden<Augment>], or an array of layers to be mixed.
template <class Bridge, Operand H, class From, class Device>
auto bridge_attention(const Bridge& bridge, const H& h, const From& source, const KeyIntervals<Device>& seen) {
  static_assert(requires { Bridge::config; },
                "calm::bridge_attention: the attention of a bridge of your own is not known; only of those with a "
                "BridgeConfig");
  using T = typename ValueOf<H>::value_type;
  using A = Accumulator<T>;
  using Weights = detail::WeightsOf<Bridge, T>;
  constexpr std::size_t heads = Bridge::Head::extent, width = Bridge::Width::extent;
  constexpr std::size_t key_heads = Bridge::KeyHead::extent, group = heads / key_heads;
  const auto q = on_host(value(bridge.queries(h)));
  const auto k = on_host(value(bridge.keys_and_values(source).first));
  const std::size_t batch = q.extent(0), time = q.extent(1), keys = k.extent(1);
  const detail::AttentionForm<T, heads> form(Bridge::options(), width);
  const auto rule = form.rule(seen);
  Weights w{decltype(Weights::keys)::zeros(Shape<Batch, typename Bridge::Head, Time, Source>(batch, time, keys)),
            decltype(Weights::nothing)::zeros(Shape<Batch, typename Bridge::Head, Time>(batch, time)),
            Bridge::config.sink};
  Tensor<T, Cpu, typename Bridge::Head> sinks;
  if constexpr (Bridge::config.sink) sinks = on_host(bridge.sink.value());
  for (std::size_t row = 0; row < batch * heads * time; ++row) {
    const std::size_t t = row % time, head = row / time % heads, b = row / time / heads;
    const auto bounds = kernel::detail::bounds_of(rule, keys, b * time + t);
    A* const scores = w.keys.mutable_data() + row * keys;
    for (std::size_t j = bounds.begin; j < bounds.end; ++j) {
      if (j >= bounds.hole_begin && j < bounds.hole_end) {
        scores[j] = -std::numeric_limits<A>::infinity();
        continue;
      }
      const std::size_t place = j < bounds.hole_end ? j : j - bounds.hole();
      const T* const query = q.data() + ((b * time + t) * heads + head) * width;
      const T* const key = k.data() + ((b * keys + j) * key_heads + head / group) * width;
      A sum = 0;
      for (std::size_t c = 0; c < width; ++c) sum += static_cast<A>(query[c]) * static_cast<A>(key[c]);
      scores[j] = sum * rule.scale - form.slope[head] * std::abs(static_cast<A>(bounds.center) - static_cast<A>(place));
    }
    if constexpr (Bridge::config.sink) {
      const A sink = static_cast<A>(sinks[head]);
      w.nothing.mutable_data()[row] = detail::weigh(scores, bounds, &sink);
    } else {
      detail::weigh<A>(scores, bounds, nullptr);
    }
  }
  return w;
}

namespace detail {

/// Waits for one link of a pass and keeps its attention.
template <class Weights, Direction Way>
struct AttentionObserver : Unobserved {
  std::size_t link;
  std::optional<Weights>* found;

  AttentionObserver(std::size_t l, std::optional<Weights>* f) : link(l), found(f) {}

  template <class Bridge, class H, class From, class Seen, class F>
  void added(std::size_t i, const Bridge& bridge, const H& h, const From& source, const Seen& seen, const F&) const {
    if constexpr (Way == Direction::forward) look(i, bridge, h, source, seen);
  }
  template <class Bridge, class H, class From, class Seen, class F>
  void heard(std::size_t k, const Bridge& bridge, const H& h, const From& source, const Seen& seen, const F&) const {
    if constexpr (Way == Direction::back) look(k, bridge, h, source, seen);
  }

 private:
  void look(std::size_t i, const auto& bridge, const auto& h, const auto& source, const auto& seen) const {
    if (i == link) *found = bridge_attention(bridge, h, source, seen);
  }
};

template <class B, Direction Way>
struct BridgeTowards {
  using type = typename B::bridge_type;
};
template <class B>
struct BridgeTowards<B, Direction::back> {
  using type = typename B::back_bridge_type;
};

}  // namespace detail

/// The attention weights of link `link` of branch `B` in a pass of `model` over whole texts, all links at work as they
/// are set. Under join::JointSoftmax they are those of the bridge alone, before its share of the joint softmax.
///
/// Throws `Error` if there is no such link, or it is off.
template <std::size_t B = 0, Direction Way = Direction::forward, class Model>
auto attention_weights(const Model& model, std::size_t link, const nn::Tokens<typename Model::device>& tokens,
                       const nn::Layout<typename Model::device>& layout) {
  using Bridge = typename detail::BridgeTowards<typename Model::template branch_type<B>, Way>::type;
  using Weights = detail::WeightsOf<Bridge, typename Model::value_type>;
  std::optional<Weights> found;
  model.observed_states(tokens, layout, [&](auto i) {
    if constexpr (i == B)
      return detail::AttentionObserver<Weights, Way>(link, &found);
    else
      return detail::Unobserved{};
  });
  detail::require(found.has_value(), [&] {
    return "calm::attention_weights: link " + std::to_string(link) + " of augment " + std::to_string(B) +
           " was not computed: it is off (scale 0), or the layer map has fewer links";
  });
  return *std::move(found);
}

}  // namespace calm
