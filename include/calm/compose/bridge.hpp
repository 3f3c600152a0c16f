/// \file  The bridge: what is trained on one link.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>

#include "calm/nn/config.hpp"
#include "calm/nn/kv_cache.hpp"
#include "calm/nn/linear.hpp"
#include "calm/nn/norm.hpp"
#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/reshape.hpp"

namespace calm {

/// Which of the augment's positions an anchor position sees.
enum class BridgeMask {
  causal,   ///< those whose text is not later than its own
  prefix,   ///< those and the whole prompt
  encoder,  ///< the whole prompt and nothing else: the augment never reads what is generated (paper, Table 5)
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
};

/// Presets: named structs, so that types and diagnostics stay short.
namespace bridge {

/// The default: both inputs normalised, and heads that can rest. Raw streams taught a bridge nothing in the pilot; heads
/// that must always read something disturb the anchor where it needs no help (docs/kv_arithmetic.md).
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

}  // namespace bridge

// The axes inside a bridge of `Options` into `Anchor`.
template <class Anchor, class Options>
struct BridgeHeads {
  static constexpr std::size_t extent = Options::config.heads ? Options::config.heads : Anchor::config.heads;
};
template <class Anchor, class Options>
struct BridgeWidth {
  static constexpr std::size_t extent = Anchor::config.hidden / BridgeHeads<Anchor, Options>::extent;
};
/// All heads side by side: D_anchor wide, as in the paper.
template <class Anchor, class Options>
struct BridgeInner {
  static constexpr std::size_t extent = Anchor::config.hidden;
};

/// H_anchor + Attention(Q: H_anchor, K and V: f_proj(H_augment)) · W_O   (§3.1; u and a are the states, normalised)
///
/// h: [Batch, Time, Hidden<Anchor>], a: [Batch, Source, Hidden<Augment>] -> [Batch, Time, Hidden<Anchor>]
/// W_O starts at zero, so a fresh bridge changes no bit of the anchor's stream.
template <nn::Spec Anchor, nn::Spec Augment, class T, class Device, class Options, class Mode = Trainable>
struct Bridge {
  static constexpr BridgeConfig config = Options::config;
  using Head = BridgeHeads<Anchor, Options>;
  using Width = BridgeWidth<Anchor, Options>;
  using Wide = BridgeInner<Anchor, Options>;
  static_assert(Anchor::config.hidden % Head::extent == 0,
                "calm::Bridge: heads do not divide the anchor's hidden width");

  using Project = nn::Linear<nn::Hidden<Augment>, nn::Hidden<Anchor>, T, Device, Mode>;
  using In = nn::Linear<nn::Hidden<Anchor>, Wide, T, Device, Mode>;
  using Out = nn::Linear<Wide, nn::Hidden<Anchor>, T, Device, Mode>;
  using NormQuery = nn::Norm<nn::Hidden<Anchor>, nn::NormKind::rms, T, Device, Mode>;
  using NormAugment = nn::Norm<nn::Hidden<Augment>, nn::NormKind::rms, T, Device, Mode>;
  /// Projected keys and values of every augment position so far.
  using Cache = nn::KeyValueCache<T, Device, Source, Head, Width>;

  static constexpr std::size_t parameter_count =
      Project::parameter_count + 3 * In::parameter_count + Out::parameter_count +
      (config.normalise_query ? NormQuery::parameter_count : 0) +
      (config.normalise_augment ? NormAugment::parameter_count : 0) + (config.sink ? Head::extent : 0);

  [[no_unique_address]] KeepIf<config.normalise_query, NormQuery, 0> norm_query;
  [[no_unique_address]] KeepIf<config.normalise_augment, NormAugment, 1> norm_augment;
  Project proj;
  In q_proj, k_proj, v_proj;
  Out o_proj;
  [[no_unique_address]] KeepIf<config.sink, Parameter<Mode, Tensor<T, Device, Head>>, 2> sink;

  /// `seen` holds, for each anchor position, the interval of augment positions that it may read.
  template <Operand H, Operand A>
  auto operator()(const H& h, const A& a, const KeyIntervals<Device>& seen) const {
    const auto p = projected(a);
    return h_plus(h, read(queries(h), keys(p), values(p), seen));
  }

  /// The same when decoding: the keys and values stand in `cache`.
  template <Operand H>
  auto operator()(const H& h, const Cache& cache, const KeyIntervals<Device>& seen) const {
    using Cached = Var<typename Cache::Rows>;
    return h_plus(h, read(queries(h), Cached{cache.keys()}, Cached{cache.values()}, seen));
  }

  /// W_K · W_p and W_V · W_p: what decoding multiplies the augment's states by, D_augment wide instead of twice D_anchor.
  struct Folded {
    Tensor<T, Device, Wide, nn::Hidden<Augment>> key, value;
  };
  Folded fold() const { return {times_projection(k_proj), times_projection(v_proj)}; }

  /// Puts the keys and values of new augment states into `cache`.
  template <Operand A>
  void remember(const A& a, const nn::Layout<Device>& layout, const Folded& folded, Cache& cache) const {
    const auto n = normalised(a);
    cache.put(value(split<Wide, Head, Width>(linear(n, folded.key))),
              value(split<Wide, Head, Width>(linear(n, folded.value))), layout);
  }

  void visit(auto&& v) {
    if constexpr (config.normalise_query) v("norm_query", norm_query);
    if constexpr (config.normalise_augment) v("norm_augment", norm_augment);
    v("proj", proj);
    v("q_proj", q_proj);
    v("k_proj", k_proj);
    v("v_proj", v_proj);
    v("o_proj", o_proj);
    if constexpr (config.sink) v("sink", sink);
  }

 private:
  static constexpr double eps = 1e-6;

  // Slopes in geometric progression, as ALiBi's.
  static AttentionOptions<Head::extent> options() {
    AttentionOptions<Head::extent> o;
    for (std::size_t h = 0; h < Head::extent; ++h) {
      const double share = static_cast<double>(h) / static_cast<double>(Head::extent);
      o.recency[h] = config.recency * std::exp2(-config.recency_octaves * share);
    }
    return o;
  }

  template <class Q, class K, class V>
  auto read(const Q& q, const K& k, const V& v, const KeyIntervals<Device>& seen) const {
    if constexpr (config.sink)
      return calm::attention(q, k, v, seen, options(), sink());
    else
      return calm::attention(q, k, v, seen, options());
  }

  template <Operand H>
  auto queries(const H& h) const {
    if constexpr (config.normalise_query)
      return split<Wide, Head, Width>(q_proj(norm_query(h, eps)));
    else
      return split<Wide, Head, Width>(q_proj(h));
  }
  template <Operand A>
  auto normalised(const A& a) const {
    if constexpr (config.normalise_augment)
      return norm_augment(a, eps);
    else
      return a;
  }
  template <Operand A>
  auto projected(const A& a) const {
    return proj(normalised(a));
  }
  static Tensor<T, Device, Wide, nn::Hidden<Augment>> product(const T* in, const T* project) {
    constexpr std::size_t width = nn::Hidden<Anchor>::extent, from = nn::Hidden<Augment>::extent;
    Tensor<T, Device, Wide, nn::Hidden<Augment>> w{{}};
    kernel::gemm(Device{}, kernel::Op::none, kernel::Op::none, Wide::extent, from, width, one<T>, {in, width},
                 {project, from}, false, {w.mutable_data(), from});
    return w;
  }
  auto times_projection(const In& in) const { return product(in.weight.value().data(), proj.weight.value().data()); }
  template <Operand P>
  auto keys(const P& p) const {
    return split<Wide, Head, Width>(k_proj(p));
  }
  template <Operand P>
  auto values(const P& p) const {
    return split<Wide, Head, Width>(v_proj(p));
  }
  template <Operand H, Operand F>
  auto h_plus(const H& h, const F& f) const {
    return o_proj(merge<Head, Width, Wide>(f)) + h;
  }
};

}  // namespace calm
