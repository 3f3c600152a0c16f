/// \file  Causal self-attention with grouped heads.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "calm/nn/config.hpp"
#include "calm/nn/kv_cache.hpp"
#include "calm/nn/linear.hpp"
#include "calm/nn/norm.hpp"
#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/reshape.hpp"
#include "calm/tensor/ops/rope.hpp"

namespace calm::nn {

/// Positions that are in the embedding turn nothing.
struct NoRotations {};

/// Multi-head self-attention, each key head shared by Heads / KeyHeads query heads (Vaswani et al. 2017; Ainslie et al.
/// 2023); with or without a norm on each head of queries and keys (Henry et al. 2020).
/// x: [Batch, Time, Hidden] -> [Batch, Time, Hidden]
template <Spec S, class T, class Device, class Mode>
struct SelfAttention {
  static constexpr bool bias = S::config.bias || S::config.qkv_bias, normed = S::config.qk_norm;
  using Query = Linear<Hidden<S>, Queries<S>, T, Device, Mode, bias>;
  using Key = Linear<Hidden<S>, Keys<S>, T, Device, Mode, bias>;
  using Output = Linear<Queries<S>, Hidden<S>, T, Device, Mode, S::config.bias>;
  using HeadNorm = Norm<HeadWidth<S>, S::config.norm, T, Device, Mode>;
  using Cache = KeyValueCache<typename CachedAs<T, Mode>::type, Device, Time, KeyHeads<S>, HeadWidth<S>>;
  static constexpr std::size_t parameter_count =
      Query::parameter_count + 2 * Key::parameter_count + Output::parameter_count +
      (normed ? 2 * HeadNorm::parameter_count : 0);

  Query q_proj;
  Key k_proj, v_proj;
  Output o_proj;
  [[no_unique_address]] KeepIf<normed, HeadNorm, 0> q_norm;
  [[no_unique_address]] KeepIf<normed, HeadNorm, 1> k_norm;

  /// What turns queries and keys; a table that all blocks on a layout share.
  using Rotations = std::conditional_t<S::config.positions == PositionKind::rotary,
                                       Tensor<Accumulator<T>, Device, Batch, Time, HeadWidth<S>>, NoRotations>;
  static Rotations rotations(const Layout<Device>& layout) {
    if constexpr (S::config.positions == PositionKind::rotary)
      return calm::rotations<HeadWidth<S>, Accumulator<T>>(layout.position, S::config.rope(layout.local));
    else
      return {};
  }

  template <Operand X>
  auto operator()(const X& x, const Layout<Device>& layout) const {
    return (*this)(x, layout, rotations(layout));
  }
  /// With a cache, the new keys and values are put there first, and queries see everything it holds of their text.
  template <Operand X>
  auto operator()(const X& x, const Layout<Device>& layout, const Rotations& turned, Cache* cache = nullptr) const {
    const auto [q, k, v] = std::apply(
        [&](const auto& values, const auto& queries, const auto& keys) {
          return std::tuple{rotated(normalised(split<Queries<S>, Heads<S>, HeadWidth<S>>(queries), q_norm), turned),
                            turned_keys(keys, turned), split<Keys<S>, KeyHeads<S>, HeadWidth<S>>(values)};
        },
        projected(x, turned, v_proj, q_proj, k_proj));
    if (cache == nullptr) return output(calm::attention(q, k, v, layout.keys, options));
    cache->put(value(k), value(v), layout);
    if constexpr (is_var<decltype(k)>) {
      // Decoding never records; the constants stand in as variables, so that both paths have one type.
      using Cached = Var<typename Cache::Rows>;
      return output(calm::attention(q, Cached{cache->keys()}, Cached{cache->values()}, layout.keys, options));
    } else {
      return output(calm::attention(q, cache->keys(), cache->values(), layout.keys, options));
    }
  }

  /// Puts the keys and values of x into the cache, and computes nothing else.
  template <Operand X>
  void remember(const X& x, const Layout<Device>& layout, const Rotations& turned, Cache& cache) const {
    const auto [values, keys] = projected(x, turned, v_proj, k_proj);
    cache.put(value(turned_keys(keys, turned)), value(split<Keys<S>, KeyHeads<S>, HeadWidth<S>>(values)), layout);
  }

  void visit(auto&& v) {
    v("q_proj", q_proj);
    v("k_proj", k_proj);
    v("v_proj", v_proj);
    v("o_proj", o_proj);
    if constexpr (normed) {
      v("q_norm", q_norm);
      v("k_norm", k_norm);
    }
  }

 private:
  static constexpr AttentionOptions<Heads<S>::extent, RoundedBy<Mode>> options{
      .scale = S::config.query_scale, .softcap = S::config.attention_softcap};

  /// Whether heads turn as they are made, not in a pass of their own.
  static constexpr bool turned_in_product =
      S::config.positions == PositionKind::rotary && !bias && !normed && std::is_same_v<Device, Cpu> &&
      PackedMatrix<decltype(std::declval<const Query&>().weight())> && turns_within_products<HeadWidth<S>::extent>;

  template <class X, class... Turning>
  static auto projected(const X& x, const Rotations& by, const Key& values, const Turning&... turning) {
    if constexpr (turned_in_product)
      return linear(x, values.weight(),
                    Rotated{turning.weight(), by, RopeLayout::half_split, S::config.rotary_width}...);
    else
      return project(x, values, turning...);
  }
  template <class K>
  auto turned_keys(const K& keys, const Rotations& turned) const {
    return rotated(normalised(split<Keys<S>, KeyHeads<S>, HeadWidth<S>>(keys), k_norm), turned);
  }
  template <class X, class N>
  static auto normalised(const X& x, const N& norm) {
    if constexpr (normed)
      return norm(x, S::config.norm_eps);
    else
      return x;
  }
  template <class X>
  static auto rotated(const X& x, const Rotations& turned) {
    if constexpr (S::config.positions == PositionKind::rotary && !turned_in_product)
      return rope(x, turned, RopeLayout::half_split, S::config.rotary_width);
    else
      return x;
  }
  template <class X>
  auto output(const X& x) const {
    return o_proj(merge<Heads<S>, HeadWidth<S>, Queries<S>>(x));
  }
};

}  // namespace calm::nn
