/// \file  Which layers of one model feed which layers of another.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace calm {

/// One pair of layers, both counted from 0, both naming the layer's output. The source comes first, as data flows: a
/// layer of the augment, then one of the anchor (in TwoWay's way back: of the anchor, then of the augment).
template <std::size_t SourceLayer, std::size_t TargetLayer>
struct Link {
  static constexpr std::size_t source = SourceLayer;
  static constexpr std::size_t target = TargetLayer;
};

/// The links of a composition, in the order of the target layers and, on one target layer, of the source layers. Any
/// layer may feed any number of layers, and the other way round.
template <class... Links>
struct LayerMap {
  static constexpr std::size_t size = sizeof...(Links);
  static constexpr std::array<std::size_t, size> source{Links::source...};
  static constexpr std::array<std::size_t, size> target{Links::target...};

  static constexpr bool ascending() {
    for (std::size_t i = 1; i < size; ++i) {
      if (target[i - 1] > target[i] || (target[i - 1] == target[i] && source[i - 1] > source[i])) return false;
    }
    return true;
  }
  static constexpr bool distinct() {
    for (std::size_t i = 1; i < size; ++i) {
      if (target[i - 1] == target[i] && source[i - 1] == source[i]) return false;
    }
    return true;
  }

  static_assert(size > 0, "calm::LayerMap: at least one link is needed");
  static_assert(ascending(),
                "calm::LayerMap: links must ascend by target layer (the second number of a Link) and, on one target "
                "layer, by source layer");
  static_assert(distinct(), "calm::LayerMap: one link stands there twice");

  static constexpr std::size_t last_source = *std::max_element(source.begin(), source.end());

  /// How many target layers have links.
  static constexpr std::size_t stops = [] {
    std::size_t n = 1;
    for (std::size_t i = 1; i < size; ++i) n += target[i - 1] != target[i];
    return n;
  }();
};

namespace detail {

/// The i-th of n layers at a uniform gap in a model of `depth` layers: the last layer of each of n equal segments.
constexpr std::size_t segment_end(std::size_t i, std::size_t n, std::size_t depth) { return (i + 1) * depth / n - 1; }

template <std::size_t N, std::size_t AugmentDepth, std::size_t AnchorDepth, std::size_t AugmentOffset,
          std::size_t AnchorOffset, std::size_t... I>
auto uniform_map(std::index_sequence<I...>)
    -> LayerMap<Link<AugmentOffset + segment_end(I, N, AugmentDepth),  //
                     AnchorOffset + segment_end(I, N, AnchorDepth)>...>;

template <class Anchor, class Augment, std::size_t N>
struct UniformMap {
  static_assert(N > 0 && N <= Anchor::depth && N <= Augment::depth,
                "calm::Uniform: more links than one of the models has layers");
  static constexpr std::size_t n = N <= Anchor::depth && N <= Augment::depth ? N : 1;  // one error, not two
  using type = decltype(uniform_map<n, Augment::depth, Anchor::depth, 0, 0>(std::make_index_sequence<n>{}));
};

// The middle half of each model, widened to n layers where half is too few.
template <class Anchor, class Augment, std::size_t N>
struct MiddleMap {
  static_assert(N > 0 && N <= Anchor::depth && N <= Augment::depth,
                "calm::Middle: more links than one of the models has layers");
  static constexpr std::size_t span(std::size_t depth) { return depth / 2 > N ? depth / 2 : N; }
  static constexpr std::size_t offset(std::size_t depth) { return (depth - span(depth)) / 2; }
  using type = decltype(uniform_map<N, span(Augment::depth), span(Anchor::depth), offset(Augment::depth),
                                    offset(Anchor::depth)>(std::make_index_sequence<N>{}));
};

}  // namespace detail

/// N links at a uniform gap in both models (§3.1), each at the end of its segment: the last link joins the last layers.
template <class Anchor, class Augment, std::size_t N>
using Uniform = typename detail::UniformMap<Anchor, Augment, N>::type;

/// The paper's rule (§4): every fourth layer of the augment, the anchor's gap in proportion. The paper gives no offset;
/// here a link stands at the end of its segment.
template <class Anchor, class Augment, std::size_t Every = 4>
using EveryNth = Uniform<Anchor, Augment, (Augment::depth + Every - 1) / Every>;

/// N links inside the middle half of both models (found best by Tanabe et al. 2024, arXiv 2411.09249).
template <class Anchor, class Augment, std::size_t N>
using Middle = typename detail::MiddleMap<Anchor, Augment, N>::type;

}  // namespace calm
