/// \file  The bridge: what is trained on one link.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/compose/bridge_config.hpp"
#include "calm/compose/bridge_projection.hpp"
#include "calm/nn/initialise.hpp"
#include "calm/nn/kv_cache.hpp"
#include "calm/nn/linear.hpp"
#include "calm/nn/norm.hpp"
#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/mix.hpp"
#include "calm/tensor/ops/multiply_rows.hpp"
#include "calm/tensor/ops/reshape.hpp"
#include "calm/tensor/ops/squash.hpp"

namespace calm {

namespace detail {

template <BridgeGate Gate, class Hidden, class Head, class T, class Device, class Mode>
struct GateParameters {  // sigmoid
  using type = nn::Linear<Hidden, Head, T, Device, Mode, true>;
  static constexpr std::size_t count = type::parameter_count;
};
template <class Hidden, class Head, class T, class Device, class Mode>
struct GateParameters<BridgeGate::tanh, Hidden, Head, T, Device, Mode> {
  using type = Parameter<Mode, Tensor<T, Device, One>>;
  static constexpr std::size_t count = 1;
};
template <class Hidden, class Head, class T, class Device, class Mode>
struct GateParameters<BridgeGate::tanh_per_head, Hidden, Head, T, Device, Mode> {
  using type = Parameter<Mode, Tensor<T, Device, Head>>;
  static constexpr std::size_t count = Head::extent;
};
template <class Hidden, class Head, class T, class Device, class Mode>
struct GateParameters<BridgeGate::none, Hidden, Head, T, Device, Mode> {
  using type = One;
  static constexpr std::size_t count = 0;
};

}  // namespace detail

/// gate · norm_out(gate_h · Attention(Q: u, K and V: f_proj(a)) · W_O), which is added to the anchor's state   (§3.1;
/// u and a are the states of anchor and augment, normalised; both gates and all norms are options)
///
/// h: [Batch, Time, Hidden<Anchor>], a: [Batch, Source, Hidden<Augment>] -> [Batch, Time, Hidden<Anchor>]; for a mix of
/// layers, a is an array of their states and stands for Σ softmax(w)_j · norm(a_j).
/// One factor starts at zero (BridgeStart), so a fresh bridge changes no bit of the anchor's stream.
///
/// Of a frozen mode it is what inference reads of a trainable one, made by its `folded`: W_K · W_p and W_V · W_p stand
/// in the place of three matrices, so what decoding multiplies the augment's states by is D_augment wide instead of
/// twice D_anchor; and a mode that packs, packs them all.
template <nn::Spec Anchor, nn::Spec Augment, class T, class Device, class Options, class Mode = Trainable>
struct Bridge {
  static_assert(detail::CheckedBridge<Anchor, Augment, Options>::ok);
  static constexpr BridgeConfig config = Options::config;
  static constexpr bool gated = config.gate != BridgeGate::none, mixed = config.mix > 1;
  static constexpr bool is_folded = is_frozen_mode<Mode>;
  using Head = BridgeHeads<Anchor, Options>;
  using KeyHead = BridgeKeyHeads<Anchor, Options>;
  using Width = BridgeWidth<Anchor, Options>;
  using Wide = BridgeInner<Anchor, Options>;
  using KeyWide = BridgeKeys<Anchor, Options>;

  using Project =
      Projection<nn::Hidden<Augment>, nn::Hidden<Anchor>, config.rank, T, Device, Mode, config.bias>;
  using Query = nn::Linear<nn::Hidden<Anchor>, Wide, T, Device, Mode, config.bias>;
  using KeyInput = std::conditional_t<is_folded, nn::Hidden<Augment>, nn::Hidden<Anchor>>;
  using Key = nn::Linear<KeyInput, KeyWide, T, Device, Mode, config.bias>;
  using Out = nn::Linear<Wide, nn::Hidden<Anchor>, T, Device, Mode, config.bias>;
  using NormAnchor = nn::Norm<nn::Hidden<Anchor>, nn::NormKind::rms, T, Device, Mode>;
  using NormAugment = nn::Norm<nn::Hidden<Augment>, nn::NormKind::rms, T, Device, Mode>;
  using NormKeys = nn::Norm<Width, nn::NormKind::rms, T, Device, Mode>;
  using Weights = Parameter<Mode, Tensor<T, Device, MixedLayers<config.mix>>>;
  using Gate = detail::GateParameters<config.gate, nn::Hidden<Anchor>, Head, T, Device, Mode>;
  /// Projected keys and values of every augment position so far, kept in `Stored`.
  template <class Stored>
  using Cache = nn::KeyValueCache<Stored, Device, Source, KeyHead, Width>;

  static constexpr std::size_t parameter_count =
      (is_folded ? 0 : Project::parameter_count) + Query::parameter_count + 2 * Key::parameter_count +
      Out::parameter_count +
      (config.normalise_query ? NormAnchor::parameter_count : 0) +
      (config.normalise_augment ? NormAugment::parameter_count : 0) +
      (config.normalise_output ? NormAnchor::parameter_count : 0) +
      (config.normalise_keys ? NormKeys::parameter_count : 0) + (mixed ? config.mix : 0) +
      (config.sink ? Head::extent : 0) + Gate::count;

  [[no_unique_address]] KeepIf<config.normalise_query, NormAnchor, 0> norm_query;
  [[no_unique_address]] KeepIf<config.normalise_augment, NormAugment, 1> norm_augment;
  [[no_unique_address]] KeepIf<!is_folded, Project, 7> proj;
  Query q_proj;
  Key k_proj, v_proj;
  Out o_proj;
  [[no_unique_address]] KeepIf<config.sink, Parameter<Mode, Tensor<T, Device, Head>>, 2> sink;
  [[no_unique_address]] KeepIf<config.normalise_output, NormAnchor, 3> norm_output;
  [[no_unique_address]] KeepIf<gated, typename Gate::type, 4> gate;
  [[no_unique_address]] KeepIf<config.normalise_keys, NormKeys, 5> norm_keys;
  [[no_unique_address]] KeepIf<mixed, Weights, 6> mix;

  /// What is to be added to h. `source` is a, or a cache of its keys and values; `seen` holds, for each anchor
  /// position, the interval of augment positions that it may read.
  template <Operand H, class From>
  auto operator()(const H& h, const From& source, const KeyIntervals<Device>& seen) const {
    const auto u = query_input(h);
    const auto q = split<Wide, Head, Width>(q_proj(u));
    const auto [k, v] = keys_and_values(source);
    if constexpr (config.sink)
      return written(calm::attention(q, k, v, seen, options(), sink()), u);
    else
      return written(calm::attention(q, k, v, seen, options()), u);
  }

  /// Where several bridges share one softmax (join::JointSoftmax): what each head reads of this source alone, [Batch,
  /// Time, Head, Width], and the log of the sum that its softmax divides by, [Batch, Time, Head].
  template <Operand H, class From>
  auto read(const H& h, const From& source, const KeyIntervals<Device>& seen) const {
    static_assert(!config.sink, "calm::Bridge: the null key of a joint softmax takes the place of each bridge's sink");
    const auto [k, v] = keys_and_values(source);
    return attention_with_lse(queries(h), k, v, seen, options());
  }
  /// The rest of the formula for what `read` gave, f: [Batch, Time, Head, Width] -> [Batch, Time, Hidden<Anchor>]
  template <Operand H, Operand F>
  auto write(const H& h, const F& f) const {
    return written(f, query_input(h));
  }

  /// What inference in `To` reads of this bridge as it stands now, in memory of its own.
  template <class To>
  auto folded() const {
    Bridge<Anchor, Augment, T, Device, Options, To> f;
    const auto p = detail::matrix_of(proj);
    f.k_proj.weight.assign(detail::product(k_proj.weight.value(), p));
    f.v_proj.weight.assign(detail::product(v_proj.weight.value(), p));
    keep(f.q_proj.weight, q_proj.weight);
    keep(f.o_proj.weight, o_proj.weight);
    if constexpr (config.bias) {
      f.k_proj.bias.assign(linear(detail::bias_of(proj), k_proj.weight.value()) + k_proj.bias.value());
      f.v_proj.bias.assign(linear(detail::bias_of(proj), v_proj.weight.value()) + v_proj.bias.value());
      keep(f.q_proj.bias, q_proj.bias);
      keep(f.o_proj.bias, o_proj.bias);
    }
    if constexpr (config.normalise_query) keep(f.norm_query.weight, norm_query.weight);
    if constexpr (config.normalise_augment) keep(f.norm_augment.weight, norm_augment.weight);
    if constexpr (config.normalise_output) keep(f.norm_output.weight, norm_output.weight);
    if constexpr (config.normalise_keys) keep(f.norm_keys.weight, norm_keys.weight);
    if constexpr (mixed) keep(f.mix, mix);
    if constexpr (config.sink) keep(f.sink, sink);
    if constexpr (config.gate == BridgeGate::sigmoid) {
      keep(f.gate.weight, gate.weight);
      keep(f.gate.bias, gate.bias);
    } else if constexpr (gated) {
      keep(f.gate, gate);
    }
    return f;
  }

  /// Puts the keys and values of new augment states into `cache`.
  template <class A, class Stored>
  void remember(const A& a, const nn::Layout<Device>& layout, Cache<Stored>& cache) const {
    const auto [k, v] = keys_and_values(a);
    cache.put(value(k), value(v), layout);
  }

  /// The parts of the formula, for those who look inside. What W_Q and a sigmoid gate read of h:
  template <Operand H>
  auto query_input(const H& h) const {
    if constexpr (config.normalise_query)
      return norm_query(h, eps);
    else
      return h;
  }
  /// [Batch, Time, Hidden<Anchor>] -> [Batch, Time, Head, Width]
  template <Operand H>
  auto queries(const H& h) const {
    return split<Wide, Head, Width>(q_proj(query_input(h)));
  }
  /// Keys and values of what is read, [Batch, Source, KeyHead, Width] each.
  template <class A>
  auto keys_and_values(const A& a) const {
    const auto [k, v] = nn::project(projected(combined(a)), k_proj, v_proj);
    return std::pair(normalised_keys(split<KeyWide, KeyHead, Width>(k)), split<KeyWide, KeyHead, Width>(v));
  }
  template <class Stored>
  auto keys_and_values(const Cache<Stored>& cache) const {
    using Cached = Var<typename Cache<Stored>::Rows>;
    return std::pair(Cached{cache.keys()}, Cached{cache.values()});
  }

  /// How scores are formed. Slopes in geometric progression, as ALiBi's.
  static AttentionOptions<Head::extent, RoundedBy<Mode>> options() {
    AttentionOptions<Head::extent, RoundedBy<Mode>> o;
    for (std::size_t h = 0; h < Head::extent; ++h) {
      const double share = static_cast<double>(h) / static_cast<double>(Head::extent);
      o.recency[h] = config.recency * std::exp2(-config.recency_octaves * share);
    }
    return o;
  }

  void visit(auto&& v) {
    if constexpr (config.normalise_query) v("norm_query", norm_query);
    if constexpr (config.normalise_augment) v("norm_augment", norm_augment);
    if constexpr (mixed) v("mix", mix);
    if constexpr (!is_folded) v("proj", proj);
    v("q_proj", q_proj);
    v("k_proj", k_proj);
    if constexpr (config.normalise_keys) v("norm_keys", norm_keys);
    v("v_proj", v_proj);
    v("o_proj", o_proj);
    if constexpr (config.sink) v("sink", sink);
    if constexpr (config.normalise_output) v("norm_output", norm_output);
    if constexpr (gated) v("gate", gate);
  }

 private:
  static constexpr double eps = 1e-6;

  // Whoever trains needs the memory of his parameters for himself, so nothing is shared.
  static void keep(auto& to, const auto& from) {
    if constexpr (PackedMatrix<decltype(to())>)
      to.assign(from.value());
    else
      to.assign(from.value().clone());
  }

  // f: [Batch, Time, Head, Width], u: the queries' input -> [Batch, Time, Hidden<Anchor>]
  template <Operand F, Operand U>
  auto written(const F& f, const U& u) const {
    return gated_output(o_proj(merge<Head, Width, Wide>(gated_heads(f, u))));
  }

  template <Operand A>
  auto projected(const A& a) const {
    if constexpr (is_folded)
      return a;
    else
      return proj(a);
  }
  template <Operand A>
  auto normalised(const A& a) const {
    if constexpr (config.normalise_augment)
      return norm_augment(a, eps);
    else
      return a;
  }
  // What the projection reads of one layer's states, or of several.
  template <Operand A>
  auto combined(const A& a) const {
    return normalised(a);
  }
  template <Operand A, std::size_t N>
  auto combined(const std::array<A, N>& layers) const {
    static_assert(N == config.mix, "calm::Bridge: another number of layers than BridgeConfig::mix");
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return calm::mix(std::array{normalised(layers[I])...}, mix());
    }(std::make_index_sequence<N>{});
  }
  // k: [Batch, Source, KeyHead, Width]
  template <Operand K>
  auto normalised_keys(const K& k) const {
    if constexpr (config.normalise_keys)
      return norm_keys(k, eps);
    else
      return k;
  }
  template <Operand F, Operand U>
  auto gated_heads(const F& f, const U& u) const {
    if constexpr (config.gate == BridgeGate::tanh_per_head)
      return multiply_rows(f, tanh(gate()));
    else if constexpr (config.gate == BridgeGate::sigmoid)
      return multiply_rows(f, sigmoid(gate(u)));
    else
      return f;
  }
  // y: [Batch, Time, Hidden<Anchor>]
  template <Operand Y>
  auto gated_output(const Y& y) const {
    if constexpr (config.normalise_output)
      return multiply_rows(norm_output(y, eps), tanh(gate()));  // no other gate compiles with this norm
    else if constexpr (config.gate == BridgeGate::tanh)
      return multiply_rows(y, tanh(gate()));
    else
      return y;
  }
};

/// Gives one parameter of a bridge its start: matrices normal with variance 1 / (width of their input), norms 1, biases
/// and sinks 0; W_O zero, or else the tanh gates (BridgeStart). Its path alone says which parameter it is.
template <class P>
void initialise_bridge_parameter(const std::string& path, P& parameter, BridgeStart start, std::uint64_t seed) {
  nn::initialise_parameter(path, parameter, {.seed = seed, .deviation = 0});
  if (start == BridgeStart::zero_output) {
    if (path.ends_with("o_proj.weight")) nn::detail::assign_constant(parameter, 0);
    if (path.ends_with(".gate")) nn::detail::assign_constant(parameter, 1);
  }
}

}  // namespace calm
