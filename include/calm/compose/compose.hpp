/// \file  Compose: a frozen anchor that reads a frozen augment through trained bridges.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <boost/hana/fold_left.hpp>
#include <boost/hana/integral_constant.hpp>
#include <boost/hana/range.hpp>

#include "calm/compose/bridge.hpp"
#include "calm/compose/layer_map.hpp"
#include "calm/nn/initialise.hpp"
#include "calm/nn/transformer.hpp"

namespace calm {

namespace detail {

/// The compile-time checks of a composition, one sentence each.
template <class Anchor, class Augment, class Map>
struct CheckedComposition {
  static_assert(std::is_same_v<typename Anchor::mode, Frozen>,
                "calm::Compose: the anchor is not frozen; give nn::Transformer the mode calm::Frozen");
  static_assert(std::is_same_v<typename Augment::mode, Frozen>,
                "calm::Compose: the augment is not frozen; give nn::Transformer the mode calm::Frozen");
  static_assert(std::is_same_v<typename Anchor::device, typename Augment::device>,
                "calm::Compose: anchor and augment are on different devices");
  static_assert(std::is_same_v<typename Anchor::value_type, typename Augment::value_type>,
                "calm::Compose: anchor and augment have different element types");
  static_assert(Map::last_augment_layer < Augment::depth,
                "calm::Compose: a link names an augment layer beyond the augment's depth");
  static_assert(Map::anchor[Map::size - 1] < Anchor::depth,
                "calm::Compose: a link names an anchor layer beyond the anchor's depth");
  static constexpr bool ok = true;
};

template <std::size_t N>
constexpr std::array<double, N> all_ones() {
  std::array<double, N> ones{};
  ones.fill(1);
  return ones;
}

template <class Device>
void require_prompts(const nn::Layout<Device>& layout) {
  require(layout.prompt.defined(), [] {
    return std::string("calm::Compose: the prefix and encoder masks need the length of each prompt (Layout::prompt)");
  });
}

/// The same texts without what was generated, which becomes padding.
template <class Device>
nn::Layout<Device> prompts_of(nn::Layout<Device> layout) {
  require_prompts(layout);
  layout.position = layout.position.clone();
  layout.keys.end = layout.keys.end.clone();
  for (std::size_t i = 0; i < layout.position.size(); ++i) {
    if (layout.position[i] < layout.prompt[i]) continue;
    layout.position.mutable_data()[i] = 0;
    layout.keys.end.mutable_data()[i] = 0;
  }
  return layout;
}

/// The intervals of augment positions that each anchor position sees, for one tokenizer.
template <class Device>
KeyIntervals<Device> seen_by_anchor(const nn::Layout<Device>& layout, BridgeMask mask) {
  if (mask == BridgeMask::causal) return layout.keys;
  require_prompts(layout);
  KeyIntervals<Device> seen;
  seen.begin = layout.keys.begin;
  seen.center = Tensor<Index, Device, Batch, Time>(layout.position.shape());
  seen.end = Tensor<Index, Device, Batch, Time>(layout.position.shape());
  Index* end = seen.end.mutable_data();
  Index* center = seen.center.mutable_data();
  for (std::size_t i = 0; i < seen.end.size(); ++i) {
    const Index own = layout.keys.end[i], before = own - layout.position[i] - 1;  // columns before the text
    const Index prompt = before + layout.prompt[i];
    center[i] = own - 1;
    end[i] = own == 0 ? 0 : (mask == BridgeMask::encoder ? prompt : (own > prompt ? own : prompt));
  }
  return seen;
}

}  // namespace detail

/// A composition of two frozen transformers (arXiv 2401.02412): after each linked anchor layer a bridge adds what the
/// anchor's state asks of the augment's. The running state is a Tensor below the first link and a Var above it: nothing
/// below is recorded, nothing frozen has a gradient, and the augment ends at its last link.
template <class Anchor, class Augment, class Map, class Options = bridge::Normalised>
class Compose {
  static_assert(detail::CheckedComposition<Anchor, Augment, Map>::ok);

 public:
  using spec = typename Anchor::spec;
  using value_type = typename Anchor::value_type;
  using device = typename Anchor::device;
  using anchor_type = Anchor;
  using map = Map;
  using options = Options;
  /// All of the augment that exists: nothing beyond its last link.
  using augment_type = typename Augment::template Prefix<std::min(Map::last_augment_layer + 1, Augment::depth)>;
  using bridge_type = Bridge<spec, typename Augment::spec, value_type, device, Options>;
  using Tokens = nn::Tokens<device>;
  using Layout = nn::Layout<device>;

  static constexpr std::size_t links = Map::size;
  static constexpr std::size_t trainable_parameters = links * bridge_type::parameter_count;

  /// Under the other masks a position reads the augment's state of later ones, so what is kept of a prefix depends on
  /// the whole prompt and serves no other text.
  static constexpr bool shares_prefixes = Options::config.mask == BridgeMask::causal;

  /// What decoding keeps: both models' keys and values and each bridge's.
  struct Caches {
    typename Anchor::Caches anchor;
    typename augment_type::Caches augment;
    std::array<typename bridge_type::Cache, links> bridges;
    std::array<typename bridge_type::Folded, links> folded;  // the same for every text

    /// What each text owns.
    static auto parts(auto& self) { return std::tie(self.anchor, self.augment, self.bridges); }
  };

  Anchor anchor;
  augment_type augment;
  std::array<bridge_type, links> bridges;

  /// What each bridge adds is multiplied by this; 0 turns it off, and with all of them off the composition is the
  /// anchor, bit for bit. A setting of this run: it is neither trained nor in the bridges' file.
  std::array<double, links> scale = detail::all_ones<links>();

  /// Fresh bridges: one factor zero (BridgeStart), so the composition is exactly the anchor, bit for bit; the other
  /// matrices normal with variance 1 / (width of their input).
  void initialise_bridges(std::uint64_t seed = 0) {
    nn::for_each_trainable(*this, [&](const std::string& path, auto& p) {
      initialise_bridge_parameter<Options>(path, p, seed);
    });
  }

  /// The anchor's last block's output, bridges applied.   tokens: [Batch, Time] -> [Batch, Time, Hidden<Anchor>]
  auto states(const Tokens& tokens, const Layout& layout) const {
    const auto linked = augment_states(tokens, layout, nullptr);
    const auto seen = detail::seen_by_anchor(layout, Options::config.mask);
    return walk(tokens, layout, nullptr, [&](auto i, const auto& h) { return bridges[i](h, linked[i], seen); });
  }

  auto logits(const Tokens& tokens, const Layout& layout) const { return anchor.head(states(tokens, layout)); }
  /// Mean cross-entropy at `targets` [Batch, Time], -1 where nothing is to be predicted.
  auto loss(const Tokens& tokens, const Layout& layout, const Tokens& targets) const {
    return anchor.head_loss(states(tokens, layout), targets);
  }

  /// Empty caches for `batch` texts of up to `capacity` tokens; the bridges' projections are folded as they stand now.
  Caches make_caches(std::size_t batch, std::size_t capacity) const {
    Caches caches{Anchor::make_caches(batch, capacity), augment_type::make_caches(batch, capacity), {}, {}};
    for (std::size_t i = 0; i < links; ++i) {
      caches.bridges[i] = typename bridge_type::Cache(batch, capacity);
      caches.folded[i] = bridges[i].fold();
    }
    return caches;
  }

  /// Reads `tokens` behind what the caches hold and returns the logits at token `last[b]` of each text. Equal to the
  /// full forward pass within rounding: what a position saw never changes when tokens are added.
  Tensor<value_type, device, Batch, nn::Vocab<spec>> next_logits(const Tokens& tokens, const Layout& layout,
                                                                 const Tensor<Index, device, Batch>& last,
                                                                 Caches& caches) const {
    read_augment(tokens, layout, caches);
    const auto seen = detail::seen_by_anchor(layout, Options::config.mask);
    const auto x = walk(tokens, layout, &caches.anchor,
                        [&](auto i, const auto& h) { return bridges[i](h, caches.bridges[i], seen); });
    return value(anchor.head(gather<Time>(value(x), last)));
  }

  /// The bridges alone: what training changes and a bridge file holds.
  void visit(auto&& v) { v("bridges", bridges); }

 private:
  using AugmentStates = Tensor<value_type, device, Batch, Source, nn::Hidden<typename Augment::spec>>;

  static constexpr auto stop_indices = boost::hana::make_range(boost::hana::size_c<0>, boost::hana::size_c<Map::stops>);

  std::array<AugmentStates, links> augment_states(const Tokens& tokens, const Layout& layout,
                                                  typename augment_type::Caches* caches) const {
    std::array<AugmentStates, links> linked;
    auto x = augment.embed(tokens, layout);
    std::size_t next = 0;
    for (const std::size_t i : Map::by_augment_layer) {
      x = augment.run(std::move(x), next, Map::augment[i] + 1, layout, caches);
      next = Map::augment[i] + 1;
      linked[i] = rename<Time, Source>(x);
    }
    return linked;
  }

  // Under the encoder mask the augment reads the prompts alone, whenever they come.
  void read_augment(const Tokens& tokens, const Layout& layout, Caches& caches) const {
    const Layout read = Options::config.mask == BridgeMask::encoder ? detail::prompts_of(layout) : layout;
    const Index* end = read.keys.end.data();
    if (std::all_of(end, end + read.keys.end.size(), [](Index e) { return e == 0; })) return;
    const auto linked = augment_states(tokens, read, &caches.augment);
    for (std::size_t i = 0; i < links; ++i) bridges[i].remember(linked[i], read, caches.folded[i], caches.bridges[i]);
  }

  /// The anchor from embedding to last block; what `apply(i, state)` gives for link i is added after its layer. Between
  /// links, blocks run in a loop over one type; only the layers with links are steps at compile time, and at the first
  /// the state becomes a variable.
  template <class Apply>
  auto walk(const Tokens& tokens, const Layout& layout, typename Anchor::Caches* caches, const Apply& apply) const {
    std::size_t next = 0;
    auto x = boost::hana::fold_left(stop_indices, anchor.embed(tokens, layout), [&](auto&& state, auto s) {
      constexpr std::size_t link = Map::stop[decltype(s)::value], past = Map::stop[decltype(s)::value + 1];
      const std::size_t first = std::exchange(next, Map::anchor[link] + 1);
      return with_bridges(anchor.run(std::move(state), first, next, layout, caches), link, past, apply);
    });
    return anchor.run(std::move(x), next, Anchor::depth, layout, caches);
  }

  /// h plus what links [first, last) add. All of them read h itself, so none sees what another has added. A link that
  /// is off is not computed.
  template <Operand H, class Apply>
  auto with_bridges(const H& h, std::size_t first, std::size_t last, const Apply& apply) const {
    using Added = decltype(apply(first, h));
    using Sum = decltype(std::declval<Added>() + h);
    Added sum;
    bool any = false;
    for (std::size_t i = first; i < last; ++i) {
      if (scale[i] == 0) continue;
      Added added = apply(i, h);
      if (scale[i] != 1) added = calm::scale(added, scale[i]);
      sum = std::exchange(any, true) ? sum + added : added;
    }
    if (any) return sum + h;
    if constexpr (std::is_same_v<H, Sum>)
      return h;
    else
      return as_var(h);  // a variable, though nothing below it has a gradient
  }
};

}  // namespace calm
