/// \file  Proxy-tuning: a large model led by what training changed in a small one (Liu et al. 2024, arXiv 2401.08565).
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>

#include "calm/nn/transformer.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/reshape.hpp"

namespace calm {

namespace detail {

/// The compile-time checks of proxy-tuning, one sentence each.
template <class Large, class Small>
struct CheckedProxy {
  static_assert(Large::spec::config.vocab == Small::spec::config.vocab,
                "calm::ProxyTuned: the models have different vocabularies, so their logits cannot be added");
  static_assert(std::is_same_v<typename Large::device, typename Small::device>,
                "calm::ProxyTuned: the models are on different devices");
  static_assert(std::is_same_v<typename Large::value_type, typename Small::value_type>,
                "calm::ProxyTuned: the models have different element types");
  static constexpr bool ok = true;
};

}  // namespace detail

/// A model whose logits are large + strength · (tuned - untuned): the large model is never trained. It decodes as any
/// other (`generate`, `Decoder`, `beam_search`). All three are transformers or compositions over one vocabulary.
/// Tensors share their memory, so a copy of a loaded model costs nothing.
template <class Large, class Tuned, class Untuned = Tuned>
struct ProxyTuned {
  static_assert(detail::CheckedProxy<Large, Tuned>::ok && detail::CheckedProxy<Large, Untuned>::ok);
  using spec = typename Large::spec;
  using value_type = typename Large::value_type;
  using device = typename Large::device;
  using Tokens = nn::Tokens<device>;
  using Layout = nn::Layout<device>;
  static constexpr bool shares_prefixes =
      Large::shares_prefixes && Tuned::shares_prefixes && Untuned::shares_prefixes;

  /// What decoding keeps: that of each model.
  struct Caches {
    typename Large::Caches large;
    typename Tuned::Caches tuned;
    typename Untuned::Caches untuned;

    /// What each text owns.
    static auto parts(auto& self) { return std::tie(self.large, self.tuned, self.untuned); }
  };

  Large large;
  Tuned tuned;
  Untuned untuned;
  double strength = 1;  ///< 1: as published; 0: the large model

  /// tokens: [Batch, Time] -> [Batch, Time, Vocab]
  auto logits(const Tokens& tokens, const Layout& layout) const {
    return led(value(large.logits(tokens, layout)), value(tuned.logits(tokens, layout)),
               value(untuned.logits(tokens, layout)));
  }

  /// Empty caches for `batch` texts of up to `capacity` tokens.
  Caches make_caches(std::size_t batch, std::size_t capacity) const {
    return {large.make_caches(batch, capacity), tuned.make_caches(batch, capacity),
            untuned.make_caches(batch, capacity)};
  }

  /// Reads `tokens` behind what the caches hold and returns the logits at token `last[b]` of each text, [Batch, Vocab].
  auto next_logits(const Tokens& tokens, const Layout& layout, const Tensor<Index, device, Batch>& last,
                   Caches& caches) const {
    return led(large.next_logits(tokens, layout, last, caches.large),
               tuned.next_logits(tokens, layout, last, caches.tuned),
               untuned.next_logits(tokens, layout, last, caches.untuned));
  }

 private:
  template <class L, class T, class U>
  L led(const L& of_large, const T& of_tuned, const U& of_untuned) const {
    using Axis = nn::Vocab<spec>;
    const auto change = rename<nn::Vocab<typename Tuned::spec>, Axis>(of_tuned) -
                        rename<nn::Vocab<typename Untuned::spec>, Axis>(of_untuned);
    return scale(change, strength) + of_large;
  }
};

}  // namespace calm
