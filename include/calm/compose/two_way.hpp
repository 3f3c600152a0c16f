/// \file  TwoWay: an augment that also reads the anchor, through bridges of its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

#include "calm/compose/branch.hpp"
#include "calm/compose/join.hpp"

namespace calm {

/// A part of a composition, as With, whose augment reads the anchor in turn.
///
/// `BackMap` is a LayerMap of links with the source first, as data flows: Link<anchor layer, augment layer>. Both ways
/// are causal by position, so caches stay exact. No layer may wait for itself: where augment layer s reads the anchor
/// behind layer b, every link from augment layers >= s must stand behind a later anchor layer than b.
template <class Augment, class Map, class BackMap, class Options = bridge::Normalised, class BackOptions = Options>
struct TwoWay {
  using augment = Augment;
  using map = Map;
  using options = Options;
  using back_map = BackMap;
  template <class Other>
  using with_options = TwoWay<Augment, Map, BackMap, Other, BackOptions>;
};

namespace detail {

/// Whether no layer waits for itself.
template <class Map, class BackMap>
constexpr bool is_acyclic() {
  for (std::size_t k = 0; k < BackMap::size; ++k) {
    for (std::size_t i = 0; i < Map::size; ++i) {
      if (Map::source[i] >= BackMap::target[k] && Map::target[i] <= BackMap::source[k]) return false;
    }
  }
  return true;
}

/// Runs the augment as far as the next link asks, with what the anchor has said by then. States are variables from the
/// first layer on that reads the anchor; below it, constants that stand in as variables, so that all have one type.
template <class B, bool Cached, class Observer = Unobserved>
class TwoWayPass {
 public:
  using branch_type = B;
  using device = typename B::device;

  TwoWayPass(const B& b, const nn::Tokens<device>& tokens, const nn::Layout<device>& layout,
             typename B::Caches* caches, Observer o = {})
      : branch(b), seen(layout.keys), observer(std::move(o)), layout_(layout), caches_(caches),
        links_(links_of(b, caches)), backs_(backs_of(b, caches)) {
    auto x = b.augment.embed(tokens, layout);
    for (std::size_t layer = 0; layer < first; ++layer) {
      if (!reads_layer<B>(layer)) continue;
      x = b.augment.run(std::move(x), ran_, layer + 1, layout, augment_caches());
      ran_ = layer + 1;
      of_layer_[layer] = as_var(rename<Time, Source>(x));
    }
    x_ = as_var(b.augment.run(std::move(x), ran_, first + 1, layout, augment_caches()));
    ran_ = first + 1;
    settled_ = first;
    if constexpr (Cached) {
      for (const std::size_t layer : B::map::target) mark_beside(device{}, layer);
    }
  }

  const B& branch;
  KeyIntervals<device> seen;
  [[no_unique_address]] Observer observer;

  const auto& bridge(std::size_t i) const { return links_.bridge(i); }
  const auto& source(std::size_t i) {
    advance(B::map::source[i] + 1);
    if (!std::exchange(taken_[i], true)) links_.take(i, gathered<B>(of_layer_, i), layout_);
    return links_.source(i);
  }

  /// The anchor's state behind `layer`, bridges applied, as later augment layers read it.
  template <Operand H>
  void passed(std::size_t layer, const H& h) {
    for (std::size_t k = 0; k < B::backs; ++k) {
      if (B::back_map::source[k] == layer) backs_.take(k, made<Said>(rename<Time, Source>(h)), layout_);
    }
  }

 private:
  using State = Var<Tensor<typename B::value_type, device, Batch, Time, nn::Hidden<typename B::augment_spec>>>;
  using Read = Var<StatesOf<B>>;
  using Said = Var<Tensor<typename B::value_type, device, Batch, Source, nn::Hidden<typename B::anchor_spec>>>;
  using Linked = std::conditional_t<(B::mix > 1), std::array<Read, B::mix>, Read>;
  using Links = std::conditional_t<Cached, FromCaches<typename B::Keeping, typename B::bridge_type, B::links>,
                                   FromStates<typename B::bridge_type, Linked, B::links>>;
  using Backs = std::conditional_t<Cached, FromCaches<typename B::BackKeeping, typename B::back_bridge_type, B::backs>,
                                   FromStates<typename B::back_bridge_type, Said, B::backs>>;
  static constexpr std::size_t first = B::back_map::target[0];  // the first layer that reads the anchor

  static Links links_of(const B& b, typename B::Caches* caches) {
    if constexpr (Cached)
      return {b.bridges, caches->folded, caches->bridges};
    else
      return {b.bridges, {}};
  }
  static Backs backs_of(const B& b, typename B::Caches* caches) {
    if constexpr (Cached)
      return {b.back, caches->back_folded, caches->back};
    else
      return {b.back, {}};
  }
  auto* augment_caches() { return Cached ? &caches_->augment : nullptr; }

  /// Runs blocks until `layers` of them are done, what they read of the anchor included.
  void advance(std::size_t layers) {
    while (settled_ < layers) {
      if (ran_ == settled_) {
        std::size_t layer = settled_;
        while (layer + 1 < layers && !reads_layer<B>(layer) && !hears(layer)) ++layer;
        x_ = branch.augment.run(std::move(x_), ran_, layer + 1, layout_, augment_caches());
        ran_ = layer + 1;
        settled_ = layer;
      }
      listen(settled_);
      if (reads_layer<B>(settled_)) of_layer_[settled_] = rename<Time, Source>(x_);
      ++settled_;
    }
  }

  static constexpr bool hears(std::size_t layer) { return !links_behind<typename B::back_map>(layer).empty(); }

  /// Adds what the bridges behind augment layer `layer` bring of the anchor. All of them read the same state.
  void listen(std::size_t layer) {
    const LinkRange range = links_behind<typename B::back_map>(layer);
    State sum;
    bool any = false;
    for (std::size_t k = range.first; k < range.last; ++k) {
      if (branch.back_scale[k] == 0) continue;
      State added = backs_.bridge(k)(x_, backs_.source(k), layout_.keys);
      if (branch.back_scale[k] != 1) added = scale(added, branch.back_scale[k]);
      observer.heard(k, backs_.bridge(k), x_, backs_.source(k), layout_.keys, added);
      sum = std::exchange(any, true) ? sum + added : added;
    }
    if (any) x_ = sum + x_;
  }

  nn::Layout<device> layout_;
  typename B::Caches* caches_;
  Links links_;
  Backs backs_;
  State x_;                                        // behind block ran_ - 1
  std::size_t ran_ = 0, settled_ = 0;              // blocks run; and those among them whose output is final
  std::array<Read, B::augment_type::depth> of_layer_;
  std::array<bool, B::links> taken_{};
};

}  // namespace detail

/// An augment that reads the anchor, in its place: what every branch has, and the bridges back.
template <class Anchor, class Augment, class Map, class BackMap, class Options, class BackOptions>
struct Branch<Anchor, TwoWay<Augment, Map, BackMap, Options, BackOptions>>
    : Branch<Anchor, With<Augment, Map, Options>> {
  using Base = Branch<Anchor, With<Augment, Map, Options>>;
  using back_map = BackMap;
  using device = typename Base::device;
  using anchor_spec = typename Anchor::spec;
  static constexpr std::size_t backs = BackMap::size;
  static_assert(Base::mask == BridgeMask::causal && detail::mask_of<BackOptions>() == BridgeMask::causal,
                "calm::TwoWay: both ways must be causal, or an answer would see itself through the other model");
  static_assert(BackMap::target[backs - 1] < Base::augment_type::depth,
                "calm::TwoWay: an augment layer behind the last link reads the anchor, and nobody would read it");
  static_assert(*std::max_element(BackMap::source.begin(), BackMap::source.end()) < Anchor::depth,
                "calm::TwoWay: a link back names an anchor layer beyond the anchor's depth");
  static_assert(detail::is_acyclic<Map, BackMap>(),
                "calm::TwoWay: an anchor layer would wait for an augment layer that waits for it");

  using back_bridge_type = typename detail::BridgeOf<typename Base::augment_type, Anchor, BackOptions>::type;
  using BackKeeping =
      detail::Keeping<back_bridge_type, typename Base::value_type, typename Anchor::mode, device,
                      nn::Hidden<anchor_spec>>;
  static constexpr std::size_t trainable_parameters =
      Base::trainable_parameters + backs * back_bridge_type::parameter_count;

  struct Caches : Base::Caches {
    std::array<typename BackKeeping::Cache, backs> back;
    std::array<typename BackKeeping::Folded, backs> back_folded;

    static auto parts(auto& self) { return std::tie(self.augment, self.bridges, self.back); }
  };

  std::array<back_bridge_type, backs> back;
  std::array<double, backs> back_scale = detail::all_ones<backs>();  ///< as Branch::scale, of what the augment hears

  auto pass(const nn::Tokens<device>& tokens, const nn::Layout<device>& layout) const {
    return detail::TwoWayPass<Branch, false>(*this, tokens, layout, nullptr);
  }
  template <class Observer>
  auto observed_pass(const nn::Tokens<device>& tokens, const nn::Layout<device>& layout, Observer observer) const {
    return detail::TwoWayPass<Branch, false, Observer>(*this, tokens, layout, nullptr, std::move(observer));
  }
  auto pass(const nn::Tokens<device>& tokens, const nn::Layout<device>& layout, Caches& caches) const {
    return detail::TwoWayPass<Branch, true>(*this, tokens, layout, &caches);
  }

  static constexpr bool acts_behind(std::size_t layer) {
    for (const std::size_t source : BackMap::source) {
      if (source == layer) return true;
    }
    return Base::acts_behind(layer);
  }

  /// The bridges back start as the others do, but by the path "back.…".
  void initialise(const std::string& prefix, std::uint64_t seed) {
    Base::initialise(prefix, seed);
    nn::for_each_trainable(*this, [&](const std::string& path, auto& p) {
      if (path.starts_with("back.")) {
        initialise_bridge_parameter(prefix + path, p, detail::start_of<BackOptions>(), seed);
      }
    });
  }

  Caches make_caches(std::size_t batch, std::size_t capacity) const {
    Caches caches{Base::make_caches(batch, capacity), {}, back_folds_.of(back)};
    for (auto& cache : caches.back) cache = typename BackKeeping::Cache(batch, capacity);
    return caches;
  }

  void visit(auto&& v) {
    Base::visit(v);
    v("back", back);
  }

 private:
  mutable detail::KeptFolds<BackKeeping, backs> back_folds_;
};

}  // namespace calm
