/// \file  Decoder-only transformers: the trunk (embedding and blocks) and the whole language model.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/nn/block.hpp"
#include "calm/tensor/ops/checkpoint.hpp"
#include "calm/tensor/ops/cross_entropy.hpp"
#include "calm/tensor/ops/embedding.hpp"
#include "calm/tensor/ops/gather.hpp"
#include "calm/tensor/ops/packed_cross_entropy.hpp"
#include "calm/tensor/ops/packed_embedding.hpp"
#include "calm/tensor/ops/reshape.hpp"
#include "calm/tensor/ops/squash.hpp"

namespace calm::nn {

/// Token ids, and other integers per token.   [Batch, Time]
template <class Device>
using Tokens = Tensor<Index, Device, Batch, Time>;

/// The embedding and the first `Depth` blocks of a model. Of an augment this is all that ever exists.
template <Spec S, class T, class Device, class Mode, std::size_t Depth>
struct Trunk {
  static_assert(Checked<S>::ok);
  static_assert(Depth <= S::config.layers, "calm::nn::Trunk: deeper than the model");
  static constexpr bool learned_positions = S::config.positions == PositionKind::learned;
  using spec = S;
  using value_type = T;
  using device = Device;
  using mode = Mode;
  using Layer = Block<S, T, Device, Mode>;
  using Stream = Tensor<T, Device, Batch, Time, Hidden<S>>;
  /// The keys and values of every block.
  using Caches = std::array<typename Layer::Cache, Depth>;
  /// What is kept of a token never depends on later ones, so a cached prefix serves every text that begins with it.
  static constexpr bool shares_prefixes = true;
  static constexpr std::size_t depth = Depth;
  static constexpr std::size_t parameter_count = Vocab<S>::extent * Hidden<S>::extent +
                                                 (learned_positions ? Context<S>::extent * Hidden<S>::extent : 0) +
                                                 Depth * Layer::parameter_count;

  Parameter<Mode, Tensor<T, Device, Vocab<S>, Hidden<S>>> embed_tokens;
  [[no_unique_address]] KeepIf<learned_positions, Parameter<Mode, Tensor<T, Device, Context<S>, Hidden<S>>>>
      embed_positions;
  std::array<Layer, Depth> layers;

  /// Of so many blocks in a row that are recorded only the input is kept, and the backward pass computes them again
  /// (`checkpoint`): the same bits in less memory, for one more forward pass of these blocks. 0: each block keeps all
  /// that its gradient needs. If that is c times its input, √(N / c) keeps least of N blocks (Chen et al. 2016): 1 in
  /// most models. A setting of this run, in no file.
  std::size_t checkpoint_every = 0;

  /// tokens: [Batch, Time] -> [Batch, Time, Hidden]. Throws if a token is outside the vocabulary, or a text longer than
  /// the context.
  auto embed(const Tokens<Device>& tokens, const Layout<Device>& layout) const {
    check_positions(layout);
    if constexpr (learned_positions)
      return embedding(tokens, embed_tokens()) + embedding(layout.position, embed_positions());
    else if constexpr (S::config.embedding_scale != 1)
      return scale(embedding(tokens, embed_tokens()), S::config.embedding_scale);
    else
      return embedding(tokens, embed_tokens());
  }

  using Rotations = typename Layer::Attention::Rotations;

  /// A layout as blocks read it, with what turns queries and keys there, and the same through the window of local
  /// blocks if there are any: made once, it serves all of them.
  struct Places {
    Layout<Device> all, near;
    Rotations turned, turned_near;
  };
  static Places places(const Layout<Device>& layout) {
    constexpr bool windows = S::config.window > 0;
    Places p{layout, windows ? windowed(layout, S::config.window) : Layout<Device>{}, {}, {}};
    p.turned = Layer::Attention::rotations(p.all);
    if constexpr (windows) p.turned_near = Layer::Attention::rotations(p.near);
    return p;
  }

  /// Runs blocks [first, last).   x: [Batch, Time, Hidden] -> the same
  template <Operand X>
  auto run(X x, std::size_t first, std::size_t last, const Layout<Device>& layout, Caches* caches = nullptr) const {
    return run(std::move(x), first, last, places(layout), caches);
  }
  template <Operand X>
  auto run(X x, std::size_t first, std::size_t last, const Places& at, Caches* caches = nullptr) const {
    if constexpr (S::config.window > 0) {
      // Stretches of local blocks, and of others.
      const auto end_of = [&](std::size_t i) {
        const bool local = S::config.is_local(i);
        while (i < last && S::config.is_local(i) == local) ++i;
        return i;
      };
      const auto stretch = [&](auto y, std::size_t begin, std::size_t end) {
        const bool local = S::config.is_local(begin);
        return run_blocks(std::move(y), begin, end, local ? at.near : at.all, local ? at.turned_near : at.turned,
                          caches);
      };
      std::size_t next = std::max(first, end_of(first));
      auto y = stretch(std::move(x), first, next);
      while (next < last) {
        first = std::exchange(next, end_of(next));
        y = stretch(std::move(y), first, next);
      }
      return y;
    } else {
      return run_blocks(std::move(x), first, last, at.all, at.turned, caches);
    }
  }

  /// Runs blocks [first, Depth), where only token `last[b]` of each text is asked for: of the others the last block
  /// makes keys and values alone.   x: [Batch, Time, Hidden] -> [Batch, 1, Hidden]
  template <Operand X>
  auto run_to(const Tensor<Index, Device, Batch>& last, X x, std::size_t first, const Places& at,
              Caches& caches) const {
    if (at.all.time() == 1) return run(std::move(x), first, Depth, at, &caches);
    constexpr std::size_t top = Depth - 1;
    const auto y = run(std::move(x), first, top, at, &caches);
    layers[top].remember(y, at.all, S::config.is_local(top) ? at.turned_near : at.turned, caches[top]);
    const auto one = calm::detail::same_elements<ValueOf<decltype(y)>>(gather<Time>(y, last),
                                                                       Shape<Batch, Time, Hidden<S>>(last.size(), 1));
    return run(one, top, Depth, only_at(at.all, last), &caches);
  }

  /// Empty caches for `batch` texts of up to `capacity` tokens.
  static Caches make_caches(std::size_t batch, std::size_t capacity) {
    Caches caches;
    for (auto& c : caches) c = typename Layer::Cache(batch, capacity);
    return caches;
  }

  void visit(auto&& v) {
    v("embed_tokens.weight", embed_tokens);
    if constexpr (learned_positions) v("embed_positions.weight", embed_positions);
    v("layers", layers);
  }

 private:
  /// Blocks [first, last) on a layout, as a function.
  struct Stretch {
    const Trunk* trunk;
    std::size_t first, last;
    Layout<Device> layout;
    Rotations turned;

    template <Operand X>
    auto operator()(const X& x) const {
      return trunk->run_each(x, first, last, layout, turned, nullptr);
    }
  };

  template <Operand X>
  auto run_blocks(X x, std::size_t first, std::size_t last, const Layout<Device>& layout, const Rotations& turned,
                  Caches* caches) const {
    using Next = decltype(layers[0](x, layout, turned));
    if constexpr (is_var<Next>) {
      if (checkpoint_every > 0 && first < last && caches == nullptr) {
        std::size_t next = std::min(first + checkpoint_every, last);
        Next y = checkpoint(x, Stretch{this, first, next, layout, turned});
        while (next < last) {
          first = std::exchange(next, std::min(next + checkpoint_every, last));
          y = checkpoint(y, Stretch{this, first, next, layout, turned});
        }
        return y;
      }
    }
    return run_each(std::move(x), first, last, layout, turned, caches);
  }

  template <Operand X>
  auto run_each(X x, std::size_t first, std::size_t last, const Layout<Device>& layout, const Rotations& turned,
                Caches* caches) const {
    using Next = decltype(layers[0](x, layout, turned));
    const auto cache = [&](std::size_t i) { return caches ? &(*caches)[i] : nullptr; };
    if constexpr (std::is_same_v<Next, X>) {
      for (std::size_t i = first; i < last; ++i) x = layers[i](x, layout, turned, cache(i));
      return x;
    } else {
      // Trainable parts turn the stream into a variable at the first block.
      if (first == last) return as_var(std::move(x));
      Next y = layers[first](x, layout, turned, cache(first));
      for (std::size_t i = first + 1; i < last; ++i) y = layers[i](y, layout, turned, cache(i));
      return y;
    }
  }

  static void check_positions(const Layout<Device>& layout) {
    for (std::size_t i = 0; i < layout.position.size(); ++i) {
      calm::detail::require(static_cast<std::size_t>(layout.position[i]) < S::config.context, [&] {
        return "calm::nn::Transformer: a text in row " + std::to_string(i / layout.time()) + " reaches position " +
               std::to_string(layout.position[i]) + ", the model's context is " + std::to_string(S::config.context) +
               " tokens; shorten the text";
      });
    }
  }
};

/// A language model: trunk, final norm and LM head.
///
/// `Mode` says what its parameters are: Frozen, FrozenAs<bf16> (frozen, matrices packed), Trainable, or LowRank<r>
/// (frozen with trainable corrections).
template <Spec S, class T, class Device, class Mode = Frozen>
struct Transformer : Trunk<S, T, Device, Mode, S::config.layers> {
  using Base = Trunk<S, T, Device, Mode, S::config.layers>;
  using Caches = typename Base::Caches;
  /// The same model cut after `Depth` blocks, frozen: an augment of a composition.
  template <std::size_t Depth>
  using Prefix = Trunk<S, T, Device, Mode, Depth>;
  using FinalNorm = Norm<Hidden<S>, S::config.norm, T, Device, Mode>;
  using Head = Parameter<Mode, Tensor<T, Device, Vocab<S>, Hidden<S>>>;
  static constexpr bool tied = S::config.tied_embeddings;
  static constexpr std::size_t parameter_count =
      Base::parameter_count + FinalNorm::parameter_count + (tied ? 0 : Vocab<S>::extent * Hidden<S>::extent);

  FinalNorm norm;
  [[no_unique_address]] KeepIf<!tied, Head> lm_head;

  /// The last block's output.   tokens: [Batch, Time] -> [Batch, Time, Hidden]
  auto states(const Tokens<Device>& tokens, const Layout<Device>& layout) const {
    return this->run(this->embed(tokens, layout), 0, S::config.layers, layout);
  }

  /// x: [Batch, 1, Hidden] of the last block -> logits [Batch, Vocab]
  template <Operand X>
  auto next_head(const X& x) const {
    using Rows = Tensor<T, Device, Batch, Hidden<S>>;
    return value(head(calm::detail::same_elements<Rows>(value(x), Shape<Batch, Hidden<S>>(value(x).extent(0)))));
  }
  /// x: [Batch, Time, Hidden] of the last block -> logits [Batch, Time, Vocab]
  template <Operand X>
  auto head(const X& x) const {
    constexpr double cap = S::config.logits_softcap;
    const auto z = linear(norm(x, S::config.norm_eps), head_weight());
    if constexpr (cap > 0)
      return scale(tanh(scale(z, 1 / cap)), cap);
    else
      return z;
  }
  /// x as for `head`, targets: [Batch, Time], -1 where nothing is to be predicted -> mean cross-entropy in nats, [One]
  template <Operand X>
  auto head_loss(const X& x, const Tokens<Device>& targets) const {
    return linear_cross_entropy(norm(x, S::config.norm_eps), head_weight(), targets, S::config.logits_softcap);
  }

  /// tokens: [Batch, Time] -> [Batch, Time, Vocab]
  auto logits(const Tokens<Device>& tokens, const Layout<Device>& layout) const { return head(states(tokens, layout)); }
  /// As `head_loss` of `states`.
  auto loss(const Tokens<Device>& tokens, const Layout<Device>& layout, const Tokens<Device>& targets) const {
    return head_loss(states(tokens, layout), targets);
  }

  /// Reads `tokens` behind what the caches hold and returns the logits at token `last[b]` of each text, [Batch, Vocab].
  Tensor<T, Device, Batch, Vocab<S>> next_logits(const Tokens<Device>& tokens, const Layout<Device>& layout,
                                                 const Tensor<Index, Device, Batch>& last, Caches& caches) const {
    return kernel::with_team(Device{}, [&] {
      return next_head(this->run_to(last, this->embed(tokens, layout), 0, this->places(layout), caches));
    });
  }

  void visit(auto&& v) {
    Base::visit(v);
    v("norm", norm);
    if constexpr (!tied) v("lm_head.weight", lm_head);
  }

 private:
  auto head_weight() const {
    if constexpr (tied)
      return this->embed_tokens();
    else
      return lm_head();
  }
};

}  // namespace calm::nn
