/// \file  The features of a composition, which are what training never changes of its forward pass: which tensors they
/// are, and what decides them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "calm/compose/compose.hpp"
#include "calm/io/module_file.hpp"
#include "calm/io/record_file.hpp"

namespace calm::train::detail {

/// f(tensor) for each tensor in arrays and tuples of them.
template <class X, class F>
void for_each_tensor(X& x, const F& f) {
  if constexpr (calm::detail::is_tensor<std::remove_const_t<X>>)
    f(x);
  else
    std::apply([&](auto&... part) { (for_each_tensor(part, f), ...); }, x);
}
template <class Features, class F>
void for_each_feature(Features& features, const F& f) {
  for_each_tensor(features.linked, f);
  f(features.anchor);
}

/// Whether no augment of a composition reads the anchor: then training changes the state of none.
template <class Model>
inline constexpr bool reads_one_way = []<std::size_t... I>(std::index_sequence<I...>) {
  return (!requires { typename Model::template branch_type<I>::back_map; } && ...);
}(std::make_index_sequence<Model::branches>{});

/// Whether every augment of a composition reads the anchor's tokens.
template <class Model>
inline constexpr bool reads_anchor_tokens = []<std::size_t... I>(std::index_sequence<I...>) {
  return (!requires { Model::template branch_type<I>::retokenizer; } && ...);
}(std::make_index_sequence<Model::branches>{});

/// What of a configuration decides what a model computes from its weights.
inline std::string config_text(const nn::TransformerConfig& c) {
  const RopeOptions rope = c.rope(false);
  std::array<char, 640> text{};
  std::snprintf(text.data(), text.size(),
                "%zu/%zu heads of %zu, norm %d %.17g, mlp %d, positions %d %.17g %.17g %d %.17g %.17g %.17g %.17g %zu, "
                "window %zu/%zu/%zu, norms %d %d, scales %.17g %.17g, cap %.17g",
                c.heads, c.key_heads(), c.width_of_head(), static_cast<int>(c.norm), c.norm_eps,
                static_cast<int>(c.mlp), static_cast<int>(c.positions), rope.theta, c.rope(true).theta,
                static_cast<int>(rope.scaling), rope.factor, rope.low_frequency, rope.high_frequency,
                rope.original_context, rope.turned, c.window, c.local_layers, c.global_every, c.qk_norm, c.post_norms,
                c.embedding_scale, c.query_scale, c.attention_softcap);
  std::string all = text.data();
  const auto add = [&](double number) {
    std::snprintf(text.data(), text.size(), " %.17g", number);
    all += text.data();
  };
  if (rope.magnitude != 1) add(rope.magnitude);
  if (rope.scaling == RopeScaling::longrope) std::for_each(rope.pair_factors.begin(), rope.pair_factors.end(), add);
  return all;
}

/// What decides the features of a text: the frozen models, and which of their states bridges read. Bridges themselves
/// do not, so that many compositions of the same models may use one file.
template <class Model>
io::RecordFile::Identity features_identity(Model& model, const std::string& kept_as) {
  io::RecordFile::Identity identity{{"anchor, weights (SHA-256)", io::weights_sha256(model.anchor)},
                                    {"anchor, configuration", config_text(Model::spec::config)},
                                    {"kept as", kept_as}};
  std::size_t first = Model::anchor_type::depth;
  model.for_each_branch([&](auto i, auto& branch) {
    using Branch = std::remove_cvref_t<decltype(branch)>;
    const std::string augment = "augment " + std::to_string(i);
    identity[augment + ", weights (SHA-256)"] = io::weights_sha256(branch.augment);
    identity[augment + ", configuration"] = config_text(Branch::augment_spec::config);
    std::string& layers = identity[augment + ", layers"];
    for (const std::size_t layer : Branch::map::source) layers.append(std::to_string(layer)).append(" ");
    layers.append("of ").append(std::to_string(Branch::mix)).append(" each");
    std::size_t layer = 0;
    while (!Branch::acts_behind(layer)) ++layer;
    first = std::min(first, layer);
  });
  identity["anchor, layer"] = std::to_string(first);
  return identity;
}

}  // namespace calm::train::detail
