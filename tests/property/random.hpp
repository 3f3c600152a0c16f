/// \file  Random<Seed>: a composition that the compiler draws. The same seed is the same type, everywhere and always.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "calm/compose/compose.hpp"
#include "calm/compose/join_softmax.hpp"
#include "calm/compose/two_way.hpp"
#include "property/pool.hpp"

namespace calm::test {

/// Numbers of one place in a random type: each is a function of seed, stream and how many came before.
struct Draws {
  RandomKey key;
  std::uint64_t used = 0;

  constexpr Draws(std::uint64_t seed, std::uint64_t stream) : key{seed, stream} {}

  /// One of 0, …, n - 1.
  constexpr std::size_t below(std::size_t n) { return random_below(key, used++, static_cast<std::uint32_t>(n)); }
  /// True in one of n cases.
  constexpr bool one_in(std::size_t n) { return below(n) == 0; }
  template <class T, std::size_t N>
  constexpr T of(const T (&choices)[N]) {
    return choices[below(N)];
  }
};

/// How the parts of a composition go together.
enum class Kind { one, sum_of_two, sum_of_three, softmax, router, two_way, two_way_and_one };

/// Some links, as numbers: (source layer, target layer), in the order that LayerMap asks for.
struct DrawnMap {
  static constexpr std::size_t most = 3;
  std::array<std::size_t, most> source{}, target{};
  std::size_t size = 0;

  constexpr bool has(std::size_t s, std::size_t t) const {
    for (std::size_t i = 0; i < size; ++i) {
      if (source[i] == s && target[i] == t) return true;
    }
    return false;
  }
  constexpr void insert(std::size_t s, std::size_t t) {
    if (has(s, t)) return;
    std::size_t at = size++;
    for (; at > 0 && (target[at - 1] > t || (target[at - 1] == t && source[at - 1] > s)); --at) {
      source[at] = source[at - 1];
      target[at] = target[at - 1];
    }
    source[at] = s;
    target[at] = t;
  }
  constexpr std::size_t last_source() const { return *std::max_element(source.begin(), source.begin() + size); }
  constexpr std::size_t first_source() const { return *std::min_element(source.begin(), source.begin() + size); }
};

constexpr DrawnMap draw_map(Draws d, std::size_t sources, std::size_t targets) {
  DrawnMap map;
  for (std::size_t n = 1 + d.below(DrawnMap::most); n > 0; --n) {
    const std::size_t s = d.below(sources), t = d.below(targets);
    map.insert(s, t);
  }
  return map;
}

/// A map there and one back, such that no layer waits for itself, and that somebody reads what listens.
struct DrawnMaps {
  DrawnMap there, back;

  constexpr bool possible() const {
    for (std::size_t k = 0; k < back.size; ++k) {
      if (back.target[k] > there.last_source()) return false;
      for (std::size_t i = 0; i < there.size; ++i) {
        if (there.source[i] >= back.target[k] && there.target[i] <= back.source[k]) return false;
      }
    }
    return true;
  }
};
constexpr DrawnMaps draw_two_way(std::uint64_t seed, std::size_t augment_layers, std::size_t anchor_layers) {
  for (std::uint64_t stream = 100;; ++stream) {
    const DrawnMaps maps{draw_map({seed, stream}, augment_layers, anchor_layers),
                         draw_map({seed, stream + 1000}, anchor_layers, augment_layers)};
    if (maps.possible()) return maps;
  }
}

/// What a bridge may be, in the composition where it stands.
struct BridgePlace {
  std::size_t to, from;       ///< widths of the state that it adds to and of the one that it reads
  std::size_t natural_heads;  ///< of the model that it adds to
  std::size_t common_heads;   ///< those that every bridge must have; 0: any
  std::size_t most_mixed;     ///< layers that each of its links can mix
  bool causal;                ///< no other mask is allowed
};

constexpr BridgeConfig draw_bridge(Draws d, const BridgePlace& place) {
  BridgeConfig c;
  c.heads = place.common_heads ? place.common_heads : d.below(4);
  const std::size_t heads = c.heads ? c.heads : place.natural_heads;
  c.width = place.to % heads != 0 || d.one_in(3) ? 1 + d.below(4) : 0;
  c.kv_heads = d.one_in(2) ? 0 : (heads % 2 == 0 && d.one_in(2) ? heads / 2 : 1);
  c.rank = d.one_in(3) ? 1 + d.below(std::min(place.to, place.from)) : 0;
  c.normalise_query = !d.one_in(3);
  c.normalise_augment = !d.one_in(3);
  c.normalise_keys = d.one_in(3);
  c.sink = !d.one_in(3);
  c.bias = d.one_in(3);
  if (d.one_in(3)) c.recency = 0.25 + static_cast<double>(d.below(8));
  c.recency_octaves = d.one_in(2) ? 8 : 0;
  c.mask = place.causal ? BridgeMask::causal : d.of({BridgeMask::causal, BridgeMask::prefix, BridgeMask::encoder});
  c.gate = d.of({BridgeGate::none, BridgeGate::tanh, BridgeGate::tanh_per_head, BridgeGate::sigmoid});
  const bool can_be_zero = c.gate == BridgeGate::tanh || c.gate == BridgeGate::tanh_per_head;
  c.start = can_be_zero && d.one_in(2) ? BridgeStart::zero_gate : BridgeStart::zero_output;
  c.normalise_output = c.gate == BridgeGate::tanh && c.start == BridgeStart::zero_gate && d.one_in(2);
  c.mix = 1 + d.below(place.most_mixed);
  return c;
}

/// A composition, as numbers.
struct Plan {
  static constexpr std::size_t most = 3;

  Kind kind{};
  std::size_t parts = 1, anchor = 0;
  std::array<std::size_t, most> augment{};
  std::array<DrawnMaps, most> maps{};
  std::array<BridgeConfig, most> bridge{};
  BridgeConfig back{};

  constexpr bool two_way() const { return kind == Kind::two_way || kind == Kind::two_way_and_one; }
};

constexpr Plan draw_plan(std::uint64_t seed) {
  // Every kind has its turn, that of one augment twice: there the bridge is all that varies.
  constexpr std::array kinds{Kind::one,    Kind::sum_of_two,   Kind::one,     Kind::softmax,
                             Kind::router, Kind::sum_of_three, Kind::two_way, Kind::two_way_and_one};
  Plan p;
  p.kind = kinds[seed % kinds.size()];
  p.parts = p.kind == Kind::one || p.kind == Kind::two_way ? 1 : (p.kind == Kind::sum_of_three ? 3 : 2);
  p.anchor = Draws(seed, 0).below(pool_size);
  const nn::TransformerConfig anchor = pool_configs[p.anchor];
  const std::size_t common_heads = p.kind == Kind::softmax ? 1 + Draws(seed, 1).below(3) : 0;
  for (std::size_t i = 0; i < p.parts; ++i) {
    p.augment[i] = Draws(seed, 2 + i).below(pool_size);
    const nn::TransformerConfig augment = pool_configs[p.augment[i]];
    const bool both_ways = p.two_way() && i == 0;
    if (both_ways)
      p.maps[i] = draw_two_way(seed, augment.layers, anchor.layers);
    else
      p.maps[i].there = draw_map({seed, 5 + i}, augment.layers, anchor.layers);
    const std::size_t most_mixed = std::min<std::size_t>(p.maps[i].there.first_source() + 1, 3);
    p.bridge[i] =
        draw_bridge({seed, 8 + i}, {anchor.hidden, augment.hidden, anchor.heads, common_heads, most_mixed, both_ways});
    if (both_ways) p.back = draw_bridge({seed, 11}, {augment.hidden, anchor.hidden, augment.heads, 0, 1, true});
  }
  return p;
}

template <std::uint64_t Seed>
inline constexpr Plan plan_of = draw_plan(Seed);

/// The options of bridge `Part` of composition `Seed`.
template <std::uint64_t Seed, std::size_t Part>
struct RandomOptions {
  static constexpr BridgeConfig config = plan_of<Seed>.bridge[Part];
};
/// Those of the bridges through which its augment reads the anchor.
template <std::uint64_t Seed>
struct RandomBackOptions {
  static constexpr BridgeConfig config = plan_of<Seed>.back;
};

namespace detail {

template <std::uint64_t Seed, std::size_t Part, std::size_t... I>
auto map_there(std::index_sequence<I...>)
    -> LayerMap<Link<plan_of<Seed>.maps[Part].there.source[I], plan_of<Seed>.maps[Part].there.target[I]>...>;
template <std::uint64_t Seed, std::size_t Part, std::size_t... I>
auto map_back(std::index_sequence<I...>)
    -> LayerMap<Link<plan_of<Seed>.maps[Part].back.source[I], plan_of<Seed>.maps[Part].back.target[I]>...>;

template <std::uint64_t Seed, std::size_t Part>
auto random_part() {
  using Augment = Base<plan_of<Seed>.augment[Part]>;
  constexpr DrawnMaps maps = plan_of<Seed>.maps[Part];
  using Map = decltype(map_there<Seed, Part>(std::make_index_sequence<maps.there.size>{}));
  using Options = RandomOptions<Seed, Part>;
  if constexpr (plan_of<Seed>.two_way() && Part == 0) {
    using BackMap = decltype(map_back<Seed, Part>(std::make_index_sequence<maps.back.size>{}));
    return std::type_identity<TwoWay<Augment, Map, BackMap, Options, RandomBackOptions<Seed>>>{};
  } else {
    return std::type_identity<With<Augment, Map, Options>>{};
  }
}

template <std::uint64_t Seed>
auto random_composition() {
  using Anchor = Base<plan_of<Seed>.anchor>;
  constexpr Kind kind = plan_of<Seed>.kind;
  return []<std::size_t... I>(std::index_sequence<I...>) {
    if constexpr (kind == Kind::softmax)
      return std::type_identity<
          Compose<Anchor, join::JointSoftmax, typename decltype(random_part<Seed, I>())::type...>>{};
    else if constexpr (kind == Kind::router)
      return std::type_identity<Compose<Anchor, join::Router, typename decltype(random_part<Seed, I>())::type...>>{};
    else
      return std::type_identity<Compose<Anchor, typename decltype(random_part<Seed, I>())::type...>>{};
  }
  (std::make_index_sequence<plan_of<Seed>.parts>{});
}

}  // namespace detail

template <std::uint64_t Seed>
using Random = typename decltype(detail::random_composition<Seed>())::type;

}  // namespace calm::test
