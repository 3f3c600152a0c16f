/// \file  Branch: an augment in its place in a composition.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "calm/compose/kept_folds.hpp"
#include "calm/compose/pass.hpp"
#include "calm/compose/with.hpp"

namespace calm {

namespace detail {

/// The compile-time checks of one part of a composition, one sentence each.
template <class Anchor, class Augment, class Map, class Options>
struct CheckedPart {
  static_assert(is_frozen_mode<typename Augment::mode>,
                "calm::Compose: the augment is not frozen; give nn::Transformer the mode calm::Frozen");
  static_assert(std::is_same_v<typename Anchor::device, typename Augment::device>,
                "calm::Compose: anchor and augment are on different devices");
  static_assert(std::is_same_v<typename Anchor::value_type, typename Augment::value_type>,
                "calm::Compose: anchor and augment have different element types");
  static_assert(Map::last_source < Augment::depth,
                "calm::Compose: a link names an augment layer beyond the augment's depth");
  static_assert(Map::target[Map::size - 1] < Anchor::depth,
                "calm::Compose: a link names an anchor layer beyond the anchor's depth");
  static_assert(mix_of<Options>() <= *std::min_element(Map::source.begin(), Map::source.end()) + 1,
                "calm::Compose: a link mixes more augment layers than there are up to its own");
  static constexpr bool ok = true;
};

template <std::size_t N>
constexpr std::array<double, N> all_ones() {
  std::array<double, N> ones{};
  ones.fill(1);
  return ones;
}

}  // namespace detail

/// An augment in its place in a composition: what is left of it, and the bridges through which `Anchor` reads it.
template <class Anchor, class Part>
struct Branch {
  using part = Part;
  using map = typename Part::map;
  using options = typename Part::options;
  using value_type = typename Anchor::value_type;
  using device = typename Anchor::device;
  static_assert(detail::CheckedPart<Anchor, typename Part::augment, map, options>::ok);

  static constexpr std::size_t links = map::size;
  static constexpr std::size_t mix = detail::mix_of<options>();
  static constexpr BridgeMask mask = detail::mask_of<options>();
  /// All of the augment that exists: nothing beyond its last link.
  using augment_type =
      typename Part::augment::template Prefix<std::min(map::last_source + 1, Part::augment::depth)>;
  using augment_spec = typename augment_type::spec;
  using bridge_type = typename detail::BridgeOf<Anchor, augment_type, options>::type;
  using Keeping =
      detail::Keeping<bridge_type, value_type, typename augment_type::mode, device, nn::Hidden<augment_spec>>;
  static constexpr std::size_t trainable_parameters = links * bridge_type::parameter_count;
  /// Under the other masks a position reads the augment's state of later ones, so what is kept of a prefix depends on
  /// the whole prompt and serves no other text.
  static constexpr bool shares_prefixes = mask == BridgeMask::causal;

  /// What decoding keeps: the augment's keys and values and each bridge's.
  struct Caches {
    typename augment_type::Caches augment;
    std::array<typename Keeping::Cache, links> bridges;
    std::array<typename Keeping::Folded, links> folded;  // the same for every text

    /// What each text owns.
    static auto parts(auto& self) { return std::tie(self.augment, self.bridges); }
  };

  augment_type augment;
  std::array<bridge_type, links> bridges;

  /// What each bridge adds is multiplied by this; 0 turns it off, and with all of them off the composition is the
  /// anchor, bit for bit. A setting of this run: it is neither trained nor in the bridges' file.
  std::array<double, links> scale = detail::all_ones<links>();

  /// What the bridges read of whole texts; training never changes it.
  detail::AllLinkedStates<Branch> linked(const nn::Tokens<device>& tokens, const nn::Layout<device>& layout) const {
    return detail::linked_states(*this, tokens, layout);
  }

  /// Passes: what the bridges read, of whole texts, of states that were computed before, and behind what caches hold
  /// once the new tokens are read into them.
  auto pass(const nn::Tokens<device>& tokens, const nn::Layout<device>& layout) const {
    return pass(linked(tokens, layout), layout);
  }
  auto pass(const detail::AllLinkedStates<Branch>& states, const nn::Layout<device>& layout) const {
    return detail::WholeTexts<Branch>{*this, {bridges, states}, detail::seen_by_anchor(layout, mask)};
  }
  template <class Observer>
  auto observed_pass(const nn::Tokens<device>& tokens, const nn::Layout<device>& layout, Observer observer) const {
    return detail::WholeTexts<Branch, Observer>{
        *this, {bridges, linked(tokens, layout)}, detail::seen_by_anchor(layout, mask), std::move(observer)};
  }
  auto pass(const nn::Tokens<device>& tokens, const nn::Layout<device>& layout, Caches& caches) const {
    const detail::BehindCaches<Branch> pass{
        *this, {bridges, caches.folded, caches.bridges}, detail::seen_by_anchor(layout, mask)};
    const auto read = [&branch = *this, tokens, layout, &augment = caches.augment, links = pass.links] {
      detail::read_into(branch, tokens, layout, augment, links);
    };
    // Threads share a prompt's long loops as well, and both models at work would hold the memory of both.
    if (detail::keeps_up<Anchor, augment_type, map>() && layout.time() == 1)
      do_beside(device{}, read);
    else
      read();
    return pass;
  }

  /// Whether the anchor's state behind `layer` concerns this branch.
  static constexpr bool acts_behind(std::size_t layer) { return !detail::links_behind<map>(layer).empty(); }

  /// Fresh bridges. Every parameter depends on its path, which begins with `prefix`, and the seed.
  void initialise(const std::string& prefix, std::uint64_t seed) {
    nn::for_each_trainable(*this, [&](const std::string& path, auto& p) {
      initialise_bridge_parameter(prefix + path, p, detail::start_of<options>(), seed);
    });
    if constexpr (requires { bridges[0].initialise(seed); }) {
      for (std::size_t i = 0; i < links; ++i) bridges[i].initialise(seed + i);
    }
  }

  /// Empty caches for `batch` texts of up to `capacity` tokens; the bridges are folded as they stand now, and so read.
  Caches make_caches(std::size_t batch, std::size_t capacity) const {
    Caches caches{augment_type::make_caches(batch, capacity), {}, folds()};
    for (auto& cache : caches.bridges) cache = typename Keeping::Cache(batch, capacity);
    return caches;
  }

  /// The bridges alone: what training changes and a bridge file holds.
  void visit(auto&& v) { v("bridges", bridges); }

 protected:
  auto folds() const { return folds_.of(bridges); }

 private:
  mutable detail::KeptFolds<Keeping, links> folds_;
};

}  // namespace calm
