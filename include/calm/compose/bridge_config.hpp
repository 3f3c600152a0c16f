/// \file  The parts of a bridge: options, presets, and the axes that follow from them.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/nn/config.hpp"

namespace calm {

/// Which of the augment's positions an anchor position sees.
enum class BridgeMask {
  causal,   ///< those whose text is not later than its own
  prefix,   ///< those and the whole prompt
  encoder,  ///< the whole prompt and nothing else: the augment never reads what is generated (paper, Table 5)
};

/// What the bridge's attention is multiplied by.
enum class BridgeGate {
  none,
  tanh,           ///< all that the bridge adds by tanh α, behind the output norm (Flamingo, arXiv 2204.14198)
  tanh_per_head,  ///< head h by tanh α_h, before W_O (after LLaMA-Adapter, arXiv 2303.16199)
  sigmoid,        ///< head h by σ(w_h·u + b_h), before W_O; u is the anchor's state as W_Q reads it
};

/// The one factor that is zero in a fresh bridge, so that it changes nothing. With two, neither would ever have a
/// gradient; an enumeration cannot say two.
enum class BridgeStart {
  zero_output,  ///< W_O; tanh gates begin at α = 1
  zero_gate,    ///< the tanh gates' α; W_O begins at random
};

/// The parts of a bridge beyond the bare formula.
struct BridgeConfig {
  std::size_t heads = 0;            ///< 0: as many as the anchor's self-attention
  bool normalise_query = true;      ///< RMSNorm on the anchor's state before W_Q
  bool normalise_augment = true;    ///< RMSNorm on the augment's state before the projection
  bool sink = true;                 ///< a score per head that brings nothing, so that a head may be at rest
  double recency = 0;               ///< what the first head's scores lose per position of distance (ALiBi); 0: nothing
  double recency_octaves = 8;       ///< how many times that halves from head 0 to head n: slope · 2^(-octaves · h / n)
  BridgeMask mask = BridgeMask::causal;
  BridgeGate gate = BridgeGate::none;
  BridgeStart start = BridgeStart::zero_output;
  bool normalise_output = false;    ///< RMSNorm on F·W_O, before the scalar gate
  bool bias = false;                ///< of f_proj, W_Q, W_K, W_V and W_O, as torch.nn.MultiheadAttention has them
  std::size_t kv_heads = 0;         ///< heads of keys and values, each for heads / kv_heads of queries; 0: heads
  std::size_t width = 0;            ///< of a head; 0: the anchor's hidden width / heads
  std::size_t rank = 0;             ///< of f_proj, D_augment -> rank -> D_anchor; 0: full
  bool normalise_keys = false;      ///< RMSNorm on each head of the keys (Henry et al. 2020, of keys alone)
  std::size_t mix = 1;              ///< augment layers that a link reads, its own and those below it, by a learned
                                    ///< softmax (the scalar mix of ELMo, Peters et al. 2018, eq. 1)
};

/// Presets: named structs, so that types and diagnostics stay short.
namespace bridge {

/// The default: both inputs normalised, and heads that can rest. Heads that must always read something disturb the
/// anchor where it needs no help (docs/kv_arithmetic.md).
struct Normalised {
  static constexpr BridgeConfig config{};
};
/// The bare formula of §3.1.
struct Paper {
  static constexpr BridgeConfig config{.normalise_query = false, .normalise_augment = false, .sink = false};
};
/// Normalised, every head drawn to the same place of the text.
struct Local {
  static constexpr BridgeConfig config{.recency = 4, .recency_octaves = 0};
};
/// `Local` under the encoder mask: the paper's control.
struct Encoder {
  static constexpr BridgeConfig config{.recency = 4, .recency_octaves = 0, .mask = BridgeMask::encoder};
};
/// The gated cross-attention of Flamingo (arXiv 2204.14198): tanh α on what is added, α = 0 at the start. Without its
/// gated feed-forward half and its resampler; the augment's norm stands for the one that ends the resampler.
struct Flamingo {
  static constexpr BridgeConfig config{.sink = false, .gate = BridgeGate::tanh, .start = BridgeStart::zero_gate};
};
/// The layer of google-deepmind/calm as far as the formula goes: raw states, one head, biases, RMSNorm on F·W_O.
///
/// Two things differ, on purpose. There the norm's scale starts at 1 and nothing gates it, so that a fresh composition
/// is not the anchor; here a tanh gate that starts at 0 stands behind the norm (its limit 1, or the norm's scale, gives
/// the original's function). And there is no mask there, so that training sees its labels; here it is causal. What the
/// original has trained is read by `import_deepmind_bridges`.
struct DeepMind {
  static constexpr BridgeConfig config{.heads = 1,
                                       .normalise_query = false,
                                       .normalise_augment = false,
                                       .sink = false,
                                       .gate = BridgeGate::tanh,
                                       .start = BridgeStart::zero_gate,
                                       .normalise_output = true,
                                       .bias = true};
};

}  // namespace bridge

// The axes inside a bridge of `Options` into `Anchor`.
template <class Anchor, class Options>
struct BridgeHeads {
  static constexpr std::size_t extent = Options::config.heads ? Options::config.heads : Anchor::config.heads;
};
template <class Anchor, class Options>
struct BridgeKeyHeads {
  static constexpr std::size_t extent =
      Options::config.kv_heads ? Options::config.kv_heads : BridgeHeads<Anchor, Options>::extent;
};
template <class Anchor, class Options>
struct BridgeWidth {
  static constexpr std::size_t natural = Anchor::config.hidden / BridgeHeads<Anchor, Options>::extent;
  static constexpr std::size_t extent = Options::config.width ? Options::config.width : natural;
};
/// All heads side by side: D_anchor wide, as in the paper, unless the options give a head another width.
template <class Anchor, class Options>
struct BridgeInner {
  static constexpr std::size_t extent = BridgeHeads<Anchor, Options>::extent * BridgeWidth<Anchor, Options>::extent;
};
/// All heads of the keys, or of the values, side by side.
template <class Anchor, class Options>
struct BridgeKeys {
  static constexpr std::size_t extent = BridgeKeyHeads<Anchor, Options>::extent * BridgeWidth<Anchor, Options>::extent;
};

/// The augment layers that one link reads.
template <std::size_t N>
struct MixedLayers {
  static constexpr std::size_t extent = N;
};

namespace detail {

/// The compile-time checks of a bridge's options, one sentence each.
template <class Anchor, class Augment, class Options>
struct CheckedBridge {
  static constexpr BridgeConfig config = Options::config;
  static constexpr bool gate_can_be_zero = config.gate == BridgeGate::tanh || config.gate == BridgeGate::tanh_per_head;

  static_assert(config.width > 0 || Anchor::config.hidden % BridgeHeads<Anchor, Options>::extent == 0,
                "calm::Bridge: heads do not divide the anchor's hidden width (give width, that of a head)");
  static_assert(BridgeHeads<Anchor, Options>::extent % BridgeKeyHeads<Anchor, Options>::extent == 0,
                "calm::Bridge: kv_heads do not divide the heads");
  static_assert(config.rank <= std::min(Anchor::config.hidden, Augment::config.hidden),
                "calm::Bridge: the rank of the projection is larger than one of the two hidden widths");
  static_assert(config.start != BridgeStart::zero_gate || gate_can_be_zero,
                "calm::Bridge: start = zero_gate needs gate = tanh or tanh_per_head; no gate and a sigmoid are never "
                "zero, and a fresh bridge would change the anchor");
  static_assert(!config.normalise_output || config.start == BridgeStart::zero_gate,
                "calm::Bridge: normalise_output with W_O zero would divide zero by epsilon; give gate = tanh and start "
                "= zero_gate");
  static_assert(!config.normalise_output || config.gate != BridgeGate::tanh_per_head,
                "calm::Bridge: normalise_output with gates per head, which stand before it, would divide zero by "
                "epsilon; give gate = tanh");
  static_assert(config.mix > 0, "calm::Bridge: mix counts the augment layers that a link reads; at least 1");
  static constexpr bool ok = true;
};

}  // namespace detail
}  // namespace calm
