/// \file  The models of the experiment and what each is trained on.
#pragma once

#include <cstdint>
#include <vector>

#include <calm/compose/compose.hpp>
#include <calm/nn/transformer.hpp>

#include "device.hpp"
#include "task.hpp"

namespace kv {

/// The anchor: knows numbers. Its first block sees one token alone, so that operands are read from block 1 on and a
/// link at block 0 comes in time (docs/kv_arithmetic.md has the measurements).
template <class S>
struct AnchorSpec {
  static constexpr calm::nn::TransformerConfig config{.vocab = S::vocab,
                                                      .hidden = 128,
                                                      .layers = 4,
                                                      .heads = 4,
                                                      .inner = 384,
                                                      .context = S::context,
                                                      .positions = calm::nn::PositionKind::learned,
                                                      .window = 1,
                                                      .local_layers = 1};
};

/// The augment: knows keys. GPT-2's kind of block, where the anchor is of Llama's.
template <class S>
struct AugmentSpec {
  static constexpr calm::nn::TransformerConfig config{.vocab = S::vocab,
                                                      .hidden = 64,
                                                      .layers = 3,
                                                      .heads = 4,
                                                      .context = S::context,
                                                      .norm = calm::nn::NormKind::layer,
                                                      .mlp = calm::nn::MlpKind::gelu_tanh,
                                                      .positions = calm::nn::PositionKind::learned,
                                                      .bias = true};
};

template <class S, class Mode = calm::Frozen>
using Anchor = calm::nn::Transformer<AnchorSpec<S>, float, Device, Mode>;
template <class S, class Mode = calm::Frozen>
using Augment = calm::nn::Transformer<AugmentSpec<S>, float, Device, Mode>;

/// The augment's last state into the anchor's first block.
using Links = calm::LayerMap<calm::Link<2, 0>>;

template <class S, class Options = calm::bridge::Local, class Map = Links>
using Composed = calm::Compose<Anchor<S>, Augment<S>, Map, Options>;

// The streams of examples. Each is a function of the seed and the example's number.

/// Substitution over all keys, after the colon and in place by turns; half of the latter on numbers, which stay.
template <class S>
auto augment_stream(const KeyBook<S>& book, std::uint64_t seed, bool other_keys) {
  return [&book, seed, writer = Writer<S>(book, other_keys), e = Expression{}](std::uint64_t i, Example& out) mutable {
    draw(book, Keys::all, {seed, 10}, i, e);
    if (i % 2 == 0)
      writer.write(Set::substitution, e, out);
    else
      writer.write_in_place(e, i % 4 == 1, out);
  };
}

/// Arithmetic on numbers, and every eighth time copying them.
template <class S>
auto anchor_stream(const KeyBook<S>& book, std::uint64_t seed) {
  return [&book, seed, writer = Writer<S>(book), e = Expression{}](std::uint64_t i, Example& out) mutable {
    draw(book, Keys::all, {seed, 11}, i, e);
    if (i % 8 == 0)
      writer.write_echo(e, out);
    else
      writer.write(Set::numeric, e, out);
  };
}

/// D_C: the three sets over `keys` alone, by default those held in; of eight texts two of KV-Substitution, one of
/// Numeric-Arithmetic, three of KV-Math and two of KV-Math with one key among numbers. `other_keys` as for the augment.
template <class S>
auto composition_stream(const KeyBook<S>& book, std::uint64_t seed,
                        KeyRange keys = KeyBook<S>::range(Keys::held_in), bool other_keys = false) {
  return [&book, seed, keys, writer = Writer<S>(book, other_keys), e = Expression{}, one_key = std::vector<bool>{}](
             std::uint64_t i, Example& out) mutable {
    draw(book, keys, {seed, 12}, i, e);
    switch (i % 8) {
      case 0:
      case 1: writer.write(Set::substitution, e, out); break;
      case 2: writer.write(Set::numeric, e, out); break;
      case 3:
      case 4:
        one_key.assign(e.operands.size(), false);
        one_key[(i / 8) % e.operands.size()] = true;
        writer.write_mixed(e, one_key, out);
        break;
      default: writer.write(Set::math, e, out);
    }
  };
}

}  // namespace kv
