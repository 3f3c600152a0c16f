/// \file  One forward pass through an augment, as its bridges read it: whole texts, or what caches hold.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/compose/sight.hpp"
#include "calm/nn/transformer.hpp"
#include "calm/tensor/beside.hpp"

namespace calm::detail {

/// An augment's states at one of its layers.
template <class B>
using StatesOf =
    Tensor<typename B::value_type, typename B::device, Batch, Source, nn::Hidden<typename B::augment_spec>>;
/// What one bridge reads: the states of one layer, or of several to be mixed.
template <class B>
using LinkedStates = std::conditional_t<(B::mix > 1), std::array<StatesOf<B>, B::mix>, StatesOf<B>>;
template <class B>
using AllLinkedStates = std::array<LinkedStates<B>, B::links>;

/// Whether some link of the branch reads augment layer `layer`.
template <class B>
constexpr bool reads_layer(std::size_t layer) {
  for (const std::size_t a : B::map::source) {
    if (layer <= a && a < layer + B::mix) return true;
  }
  return false;
}

/// What link i reads, of the states of each layer.
template <class B, class States, std::size_t Depth>
auto gathered(const std::array<States, Depth>& of_layer, std::size_t i) {
  if constexpr (B::mix > 1) {
    std::array<States, B::mix> read;
    for (std::size_t j = 0; j < B::mix; ++j) read[j] = of_layer[B::map::source[i] + 1 - B::mix + j];
    return read;
  } else {
    return of_layer[B::map::source[i]];
  }
}

/// Runs the augment once, in the order of its layers, whatever the map: each(i, states) is told, for each link i, what
/// it reads as soon as that is there.
template <class B, class Each>
void run_augment(const B& branch, const nn::Tokens<typename B::device>& tokens,
                 const nn::Layout<typename B::device>& layout, typename B::augment_type::Caches* caches,
                 const Each& each) {
  std::array<StatesOf<B>, B::augment_type::depth> of_layer;
  auto x = branch.augment.embed(tokens, layout);
  const auto places = branch.augment.places(layout);
  std::size_t next = 0;
  for (std::size_t layer = 0; layer < of_layer.size(); ++layer) {
    if (!reads_layer<B>(layer)) continue;
    x = branch.augment.run(std::move(x), next, layer + 1, places, caches);
    next = layer + 1;
    of_layer[layer] = rename<Time, Source>(x);
    for (std::size_t i = 0; i < B::links; ++i) {
      if (B::map::source[i] == layer) each(i, gathered<B>(of_layer, i));
    }
  }
}

/// Whether link i is the last of those behind its anchor layer that `run_augment` meets.
template <class Map>
constexpr bool is_last_taken(std::size_t i) {
  for (std::size_t j = 0; j < Map::size; ++j) {
    if (Map::target[j] == Map::target[i] && Map::source[j] > Map::source[i]) return false;
  }
  return true;
}

/// Whether an augment that runs beside the anchor, each on a thread of its own, has read what each link asks for by the
/// time that the anchor is there. Else the anchor's thread would wait where it could help.
template <class Anchor, class Augment, class Map>
constexpr bool keeps_up() {
  for (std::size_t i = 0; i < Map::size; ++i) {
    if ((Map::source[i] + 1) * Augment::Layer::parameter_count > (Map::target[i] + 1) * Anchor::Layer::parameter_count)
      return false;
  }
  return true;
}

template <class B>
AllLinkedStates<B> linked_states(const B& branch, const nn::Tokens<typename B::device>& tokens,
                                 const nn::Layout<typename B::device>& layout,
                                 typename B::augment_type::Caches* caches = nullptr) {
  AllLinkedStates<B> linked;
  run_augment(branch, tokens, layout, caches,
              [&](std::size_t i, LinkedStates<B> states) { linked[i] = std::move(states); });
  return linked;
}

/// The bridges of N links and what each reads: those that are trained, states of whole texts;
template <class Bridge, class States, std::size_t N>
struct FromStates {
  const std::array<Bridge, N>& bridges;
  std::array<States, N> states;

  const Bridge& bridge(std::size_t i) const { return bridges[i]; }
  const States& source(std::size_t i) const { return states[i]; }
  void take(std::size_t i, States read, const auto&) { states[i] = std::move(read); }
};
/// those that decoding reads, what caches keep.
template <class Keeping, class Bridge, std::size_t N>
struct FromCaches {
  const std::array<Bridge, N>& bridges;
  const std::array<typename Keeping::Folded, N>& folded;
  std::array<typename Keeping::Cache, N>& caches;

  const auto& bridge(std::size_t i) const { return Keeping::speaker(bridges[i], folded[i]); }
  const auto& source(std::size_t i) const { return Keeping::source(caches[i]); }
  void take(std::size_t i, const auto& states, const auto& layout) const {
    Keeping::remember(folded[i], states, layout, caches[i]);
  }
};

/// Reads new tokens into the caches. Under the encoder mask the augment reads the prompts alone, whenever they come.
template <class B, class Links>
void read_into(const B& branch, const nn::Tokens<typename B::device>& tokens,
               const nn::Layout<typename B::device>& layout, typename B::augment_type::Caches& caches,
               const Links& links) {
  const auto read = B::mask == BridgeMask::encoder ? prompts_of(layout) : layout;
  const Index* end = read.keys.end.data();
  if (std::all_of(end, end + read.keys.end.size(), [](Index e) { return e == 0; })) return;
  run_augment(branch, tokens, read, &caches, [&](std::size_t i, const LinkedStates<B>& states) {
    links.take(i, states, read);
    if (is_last_taken<typename B::map>(i)) mark_beside(typename B::device{}, B::map::target[i]);
  });
}

/// Nobody who looks at a pass. An observer has the same members:
///
///     added(i, bridge, h, source, seen, f)   link i adds f, its scale applied, to the state h
///     heard(k, bridge, h, source, seen, f)   the same of link back k of a TwoWay, where h is the augment's state
///     shared(i, weight)                      what the joining policy multiplies link i by, [Batch, Time, Heads or One]
///
/// `source` and `seen` are what the bridge reads. A link that is off is not shown.
struct Unobserved {
  static void added(std::size_t, const auto&...) {}
  static void heard(std::size_t, const auto&...) {}
  static void shared(std::size_t, const auto&) {}
};

/// A pass through an augment that runs by itself: what bridge i reads and may see.
template <class B, class Links, class Observer = Unobserved>
struct Pass {
  using branch_type = B;
  const B& branch;
  Links links;
  KeyIntervals<typename B::device> seen;
  [[no_unique_address]] Observer observer = {};

  const auto& bridge(std::size_t i) const { return links.bridge(i); }
  const auto& source(std::size_t i) const { return links.source(i); }
  template <class H>
  void passed(std::size_t, const H&) {}  // only an augment that reads the anchor cares
};
/// Over whole texts; and behind what caches hold, the new tokens included.
template <class B, class Observer = Unobserved>
using WholeTexts = Pass<B, FromStates<typename B::bridge_type, LinkedStates<B>, B::links>, Observer>;
template <class B>
using BehindCaches = Pass<B, FromCaches<typename B::Keeping, typename B::bridge_type, B::links>>;

/// The links of map `Map` behind anchor layer `layer`: [first, last).
struct LinkRange {
  std::size_t first = 0, last = 0;
  constexpr bool empty() const { return first == last; }
  constexpr std::size_t size() const { return last - first; }
};
template <class Map>
constexpr LinkRange links_behind(std::size_t layer) {
  LinkRange range;
  while (range.first < Map::size && Map::target[range.first] < layer) ++range.first;
  range.last = range.first;
  while (range.last < Map::size && Map::target[range.last] == layer) ++range.last;
  return range;
}

/// How many anchor layers below `end` have links of some of the branches behind them.
template <class... Branches>
constexpr std::size_t stops_before(std::size_t end) {
  std::size_t n = 0;
  for (std::size_t layer = 0; layer < end; ++layer) n += (!links_behind<typename Branches::map>(layer).empty() || ...);
  return n;
}

}  // namespace calm::detail
