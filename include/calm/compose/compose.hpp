/// \file  Compose: a frozen anchor that reads frozen augments through trained bridges.
#pragma once

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

// First what users' mistakes are found in: the compiler then names it by a shorter path.
#include "calm/compose/bridge_config.hpp"
#include "calm/compose/layer_map.hpp"
#include "calm/nn/transformer.hpp"

#include "calm/compose/branch.hpp"
#include "calm/compose/join.hpp"
#include "calm/compose/retokenized.hpp"
#include "calm/nn/initialise.hpp"
#include "calm/tensor/beside.hpp"

namespace calm {

namespace detail {

/// The branches of a composition. One alone is a base, so that its members are the composition's.
template <class... B>
struct Branches {
  std::tuple<B...> augments;

  template <std::size_t I>
  auto& branch() {
    return std::get<I>(augments);
  }
  template <std::size_t I>
  const auto& branch() const {
    return std::get<I>(augments);
  }
  void visit(auto&& v) { visit_numbered(augments, v); }
};
template <class B>
struct Branches<B> : B {
  template <std::size_t I>
  B& branch() {
    return *this;
  }
  template <std::size_t I>
  const B& branch() const {
    return *this;
  }
};

/// What a branch's bridges read of whole texts.
template <class B>
using LinkedOf = decltype(std::declval<const B&>().linked(std::declval<const nn::Tokens<typename B::device>&>(),
                                                          std::declval<const nn::Layout<typename B::device>&>()));

/// The anchor layers behind which something happens, in order.
template <class Anchor, class... B>
struct Stops {
  static constexpr bool at(std::size_t layer) { return (B::acts_behind(layer) || ...); }
  static constexpr std::size_t count = [] {
    std::size_t n = 0;
    for (std::size_t layer = 0; layer < Anchor::depth; ++layer) n += at(layer);
    return n;
  }();
  static constexpr std::array<std::size_t, count> layers = [] {
    std::array<std::size_t, count> l{};
    for (std::size_t layer = 0, n = 0; layer < Anchor::depth; ++layer) {
      if (at(layer)) l[n++] = layer;
    }
    return l;
  }();
};

}  // namespace detail

/// A composition of frozen transformers (arXiv 2401.02412): after each linked anchor layer, bridges add what the
/// anchor's state asks of the augments'. The running state is a Tensor below the first link and a Var above it: nothing
/// below is recorded, nothing frozen has a gradient, and each augment ends at its last link. `Compose` makes its type;
/// with one augment, the members of its Branch are the composition's.
template <class Anchor, class Join, class... B>
class Composition : public detail::Branches<B...> {
  static_assert(is_frozen_mode<typename Anchor::mode>,
                "calm::Compose: the anchor is not frozen; give nn::Transformer the mode calm::Frozen");

 public:
  using spec = typename Anchor::spec;
  using value_type = typename Anchor::value_type;
  using device = typename Anchor::device;
  using anchor_type = Anchor;
  using Joined = typename Join::template Parameters<Anchor, B...>;
  using Tokens = nn::Tokens<device>;
  using Layout = nn::Layout<device>;
  template <std::size_t I>
  using branch_type = std::tuple_element_t<I, std::tuple<B...>>;

  /// The anchor layers behind which bridges read or are read.
  using stops = detail::Stops<Anchor, B...>;

  static constexpr std::size_t branches = sizeof...(B);
  static constexpr std::size_t trainable_parameters = (B::trainable_parameters + ... + Joined::parameter_count);

  /// Whether what is kept of a prefix serves every text that begins with it.
  static constexpr bool shares_prefixes = (B::shares_prefixes && ...);

  /// What decoding keeps: the anchor's keys and values, and what each branch does.
  struct Caches {
    typename Anchor::Caches anchor;
    std::tuple<typename B::Caches...> augments;

    /// What each text owns.
    static auto parts(auto& self) { return std::tie(self.anchor, self.augments); }
  };

  /// What of a forward pass training never changes: of each branch the states that its bridges read, and the anchor's
  /// state behind its first layer with links, [Batch, Time, Hidden<Anchor>], before anything is added to it.
  struct Features {
    std::tuple<detail::LinkedOf<B>...> linked;
    typename Anchor::Stream anchor;
  };

  Anchor anchor;
  [[no_unique_address]] Joined joined;  ///< what the joining policy has to learn

  /// Fresh bridges: one factor zero (BridgeStart), so the composition is exactly the anchor, bit for bit; the other
  /// matrices normal with variance 1 / (width of their input).
  void initialise_bridges(std::uint64_t seed = 0) {
    for_each_branch([&](auto i, auto& branch) {
      const std::string prefix = branches > 1 ? "augments." + std::to_string(i) + "." : "";
      branch.initialise(prefix, seed);
    });
    nn::for_each_trainable(joined, [&](const std::string& path, auto& p) {
      nn::detail::assign_constant(p, path.ends_with("norm.weight") ? 1 : 0);
    });
  }

  /// The anchor's last block's output, bridges applied.   tokens: [Batch, Time] -> [Batch, Time, Hidden<Anchor>]
  auto states(const Tokens& tokens, const Layout& layout) const {
    auto passes = passes_of([&](auto, const auto& branch) { return branch.pass(tokens, layout); });
    return walk(anchor.embed(tokens, layout), 0, over(layout), passes);
  }

  /// `states`, for somebody who looks: `observer_of(i)`, for branch i (a constant), is told what each of its links adds
  /// (detail::Unobserved says how).
  template <class ObserverOf>
  auto observed_states(const Tokens& tokens, const Layout& layout, const ObserverOf& observer_of) const {
    auto passes = passes_of([&](auto i, const auto& branch) {
      return branch.observed_pass(tokens, layout, observer_of(i));
    });
    return walk(anchor.embed(tokens, layout), 0, over(layout), passes);
  }

  /// tokens: [Batch, Time] -> [Batch, Time, Vocab]
  auto logits(const Tokens& tokens, const Layout& layout) const { return anchor.head(states(tokens, layout)); }
  /// Mean cross-entropy at `targets` [Batch, Time], -1 where nothing is to be predicted, in nats.   -> [One]
  auto loss(const Tokens& tokens, const Layout& layout, const Tokens& targets) const {
    return anchor.head_loss(states(tokens, layout), targets);
  }

  /// The part of `loss` that is the same in every epoch.
  Features features(const Tokens& tokens, const Layout& layout) const {
    Features f;
    for_each_branch([&](auto i, const auto& branch) {
      std::get<i>(f.linked) = branch.linked(tokens, layout);
    });
    f.anchor = anchor.run(anchor.embed(tokens, layout), 0, stops::layers[0] + 1, layout);
    return f;
  }
  /// The rest of it: what every step computes anew.   -> [One], in nats
  auto loss(const Features& features, const Layout& layout, const Tokens& targets) const {
    auto passes =
        passes_of([&](auto i, const auto& branch) { return branch.pass(std::get<i>(features.linked), layout); });
    return anchor.head_loss(walk(features.anchor, stops::layers[0] + 1, over(layout), passes), targets);
  }

  /// Empty caches for `batch` texts of up to `capacity` tokens; the bridges are folded as they stand now, and so read.
  Caches make_caches(std::size_t batch, std::size_t capacity) const {
    Caches caches{Anchor::make_caches(batch, capacity), {}};
    for_each_branch([&](auto i, const auto& branch) {
      std::get<i>(caches.augments) = branch.make_caches(batch, capacity);
    });
    return caches;
  }

  /// Reads `tokens` behind what the caches hold and returns the logits at token `last[b]` of each text, [Batch, Vocab].
  /// Equal to the full forward pass within rounding: what a position saw never changes when tokens are added.
  Tensor<value_type, device, Batch, nn::Vocab<spec>> next_logits(const Tokens& tokens, const Layout& layout,
                                                                 const Tensor<Index, device, Batch>& last,
                                                                 Caches& caches) const {
    return kernel::with_team(device{}, [&] {
      auto passes = launch_beside(device{}, [&] {
        return passes_of([&](auto i, const auto& branch) {
          return branch.pass(tokens, layout, std::get<i>(caches.augments));
        });
      });
      // Only token last[b] of each text passes the top block, so links behind that see what this token sees.
      const auto places = anchor.places(layout);
      const auto run = [&]<Operand X>(X x, std::size_t first, std::size_t end) {
        if (first == end || end < Anchor::depth) {
          auto h = anchor.run(std::move(x), first, end, places, &caches.anchor);
          if (first < end) join_beside(device{}, end - 1);  // what links behind this block read of augments' caches
          return h;
        }
        auto h = anchor.run_to(last, std::move(x), first, places, caches.anchor);
        join_beside(device{});
        if (layout.time() > 1) std::apply([&](auto&... p) { ((p.seen = nn::only_at(p.seen, last)), ...); }, passes);
        return h;
      };
      return anchor.next_head(walk(anchor.embed(tokens, layout), 0, run, passes));
    });
  }

  /// f(i, branch) for each branch; i is a constant.
  template <class F>
  void for_each_branch(const F& f) {
    each_branch(*this, f);
  }
  template <class F>
  void for_each_branch(const F& f) const {
    each_branch(*this, f);
  }

  /// The bridges alone: what training changes and a bridge file holds.
  void visit(auto&& v) {
    if constexpr (branches > 1)
      v("augments", static_cast<detail::Branches<B...>&>(*this));
    else
      detail::Branches<B...>::visit(v);
    if constexpr (Joined::parameter_count > 0) v("join", joined);
  }

 private:
  static constexpr auto stop_indices =
      boost::hana::make_range(boost::hana::size_c<0>, boost::hana::size_c<stops::count>);

  template <class Self, class F>
  static void each_branch(Self& self, const F& f) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (f(std::integral_constant<std::size_t, I>{}, self.template branch<I>()), ...);
    }(std::index_sequence_for<B...>{});
  }
  template <class Make>
  auto passes_of(const Make& make) const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::tuple{make(std::integral_constant<std::size_t, I>{}, this->template branch<I>())...};
    }(std::index_sequence_for<B...>{});
  }

  /// Runs the anchor's blocks [first, end) over whole texts.
  auto over(const Layout& layout) const {
    return [this, places = anchor.places(layout)]<Operand X>(X x, std::size_t first, std::size_t end) {
      return anchor.run(std::move(x), first, end, places);
    };
  }

  /// The anchor from `next`, the first block that has not run, to its last, where run(x, first, end) runs blocks.
  /// Between stops, blocks run in a loop over one type; only the layers with links are steps at compile time, and at
  /// the first the state becomes a variable.
  template <Operand X, class Run, class Passes>
  auto walk(X first, std::size_t next, const Run& run, Passes& passes) const {
    auto x = boost::hana::fold_left(stop_indices, std::move(first), [&](auto&& state, auto s) {
      constexpr std::size_t layer = stops::layers[decltype(s)::value];
      auto h = run(std::move(state), next, layer + 1);
      next = layer + 1;
      auto joint = Join::template apply<layer>(h, joined, passes);
      std::apply([&](auto&... pass) { (pass.passed(layer, joint), ...); }, passes);
      return joint;
    });
    return run(std::move(x), next, Anchor::depth);
  }
};

namespace detail {

/// A composition of `Anchor`, which may be one itself: another augment is one more branch of it.
template <class Anchor, class Join, class... Parts>
struct Joined {
  using type = Composition<Anchor, Join, Branch<Anchor, typename Join::template Adapted<Parts>>...>;
};
template <class Anchor, class Join, class... B, class... Parts>
struct Joined<Composition<Anchor, Join, B...>, Join, Parts...> {
  using type = Composition<Anchor, Join, B..., Branch<Anchor, typename Join::template Adapted<Parts>>...>;
};

template <class Anchor>
struct JoinOf {
  using type = join::Sum;
};
template <class Anchor, class Join, class... B>
struct JoinOf<Composition<Anchor, Join, B...>> {
  using type = Join;
};

template <class T>
concept JoiningPolicy = requires { typename T::template Parameters<int>; };

template <class Anchor, class... Arguments>
struct Composed {  // an augment, its map and perhaps options
  using type = typename Joined<Anchor, typename JoinOf<Anchor>::type, With<Arguments...>>::type;
};
template <class Anchor, CompositionPart... Parts>
struct Composed<Anchor, Parts...> {
  using type = typename Joined<Anchor, typename JoinOf<Anchor>::type, Parts...>::type;
};
template <class Anchor, JoiningPolicy Join, CompositionPart... Parts>
struct Composed<Anchor, Join, Parts...> {
  using type = typename Joined<Anchor, Join, Parts...>::type;
};

}  // namespace detail

/// The composition of an anchor with
///
///     Compose<Anchor, Augment, Map>                      one augment, bridges with the default options
///     Compose<Anchor, Augment, Map, Options>             one augment
///     Compose<Anchor, With<Augment, Map, Options>...>    several, whose bridges' results are added up
///     Compose<Anchor, Policy, With<...>...>              several, joined by a policy of `join`
///
/// all of them one class template, so that they are the same type where they say the same. An anchor that is itself a
/// composition (with the same policy) gets more branches: `Compose<Compose<A, With<X, M>>, With<Y, N>>` is
/// `Compose<A, With<X, M>, With<Y, N>>`.
template <class Anchor, class... Arguments>
using Compose = typename detail::Composed<Anchor, Arguments...>::type;

}  // namespace calm
