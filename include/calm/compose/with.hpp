/// \file  With: an augment, its layer map and its bridges, as a part of a composition; and which bridge options name.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/compose/bridge.hpp"
#include "calm/compose/layer_map.hpp"
#include "calm/nn/kv_cache.hpp"

namespace calm {

/// One augment of a composition: which of its layers feed which of the anchor's, through bridges of `Options`.
///
/// `Options` holds a BridgeConfig (the presets of `bridge`), or a bridge of its own: a member template
/// `Bridge<AnchorSpec, AugmentSpec, T, Device>` with `parameter_count`, `visit(v)` and
///
///     auto operator()(h, a, seen) const
///
/// where h is the anchor's state [Batch, Time, Hidden<Anchor>], a the augment's [Batch, Source, Hidden<Augment>],
/// `seen` a KeyIntervals (what each anchor position may read of a), and the result is what is added to h. Such a bridge
/// is called with the same a when decoding: everything that the augment has read so far. A member `initialise(seed)`
/// gives it its start; without one it starts as the library's do, W_O (`o_proj.weight`) zero.
template <class Augment, class Map, class Options = bridge::Normalised>
struct With {
  using augment = Augment;
  using map = Map;
  using options = Options;
  template <class Other>
  using with_options = With<Augment, Map, Other>;
};

namespace detail {

/// With, and what else stands in its place.
template <class T>
concept CompositionPart = requires {
  typename T::augment;
  typename T::map;
  typename T::options;
};

template <class Options, class Anchor, class Augment, class T, class Device>
concept HasOwnBridge = requires { typename Options::template Bridge<Anchor, Augment, T, Device>; };

/// The mode of the bridges between two models: theirs rounds the operands of products if the products of both do. On a
/// GPU it never does.
template <class Reader, class Read>
using BridgeMode = std::conditional_t<std::is_same_v<typename Reader::device, Cpu> &&
                                          std::is_same_v<calm::RoundedBy<typename Reader::mode>, bf16> &&
                                          std::is_same_v<calm::RoundedBy<typename Read::mode>, bf16>,
                                      TrainedAs<bf16>, Trainable>;

/// The bridges of `Options` through which the model `Reader` reads `Read`.
template <class Reader, class Read, class Options>
struct BridgeOf {
  using type = Bridge<typename Reader::spec, typename Read::spec, typename Reader::value_type, typename Reader::device,
                      Options, BridgeMode<Reader, Read>>;
};
template <class Reader, class Read, class Options>
  requires HasOwnBridge<Options, typename Reader::spec, typename Read::spec, typename Reader::value_type,
                        typename Reader::device>
struct BridgeOf<Reader, Read, Options> {
  using type = typename Options::template Bridge<typename Reader::spec, typename Read::spec,
                                                 typename Reader::value_type, typename Reader::device>;
};

template <class Options>
constexpr BridgeMask mask_of() {
  if constexpr (requires { Options::config; })
    return Options::config.mask;
  else
    return BridgeMask::causal;
}
template <class Options>
constexpr BridgeStart start_of() {
  if constexpr (requires { Options::config; })
    return Options::config.start;
  else
    return BridgeStart::zero_output;
}
template <class Options>
constexpr std::size_t mix_of() {
  if constexpr (requires { Options::config; })
    return Options::config.mix;
  else
    return 1;
}

/// What a bridge of options `Options` keeps of an augment's states when decoding, and what is asked for it: the
/// library's own bridges keep keys and values, as those of a model of `Mode` are, and are folded into that mode; those
/// of a user the states as they are.
template <class BridgeType, class T, class Mode, class Device, class Hidden>
struct Keeping {
  using Cache = nn::TokenRows<T, Device, Source, Hidden>;
  struct Folded {};

  static Folded fold(const BridgeType&) { return {}; }
  template <class States>
  static void remember(const Folded&, const States& a, const nn::Layout<Device>& layout, Cache& cache) {
    cache.put(value(a), layout);
  }
  static const auto& source(const Cache& cache) { return cache.rows(); }
  /// Who adds to the anchor's state.
  static const BridgeType& speaker(const BridgeType& bridge, const Folded&) { return bridge; }
};
template <class Anchor, class Augment, class T, class Device, class Options, class Trained, class Mode, class Hidden>
struct Keeping<Bridge<Anchor, Augment, T, Device, Options, Trained>, T, Mode, Device, Hidden> {
  using BridgeType = Bridge<Anchor, Augment, T, Device, Options, Trained>;
  using Folded = Bridge<Anchor, Augment, T, Device, Options, Mode>;
  using Cache = typename BridgeType::template Cache<typename CachedAs<T, Mode>::type>;

  static Folded fold(const BridgeType& bridge) { return bridge.template folded<Mode>(); }
  template <class States>
  static void remember(const Folded& folded, const States& a, const nn::Layout<Device>& layout, Cache& cache) {
    folded.remember(a, layout, cache);
  }
  static const Cache& source(const Cache& cache) { return cache; }
  static const Folded& speaker(const BridgeType&, const Folded& folded) { return folded; }
};

}  // namespace detail
}  // namespace calm
