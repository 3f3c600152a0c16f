/// \file  Joint softmax and router: bridges of several augments that compete for each position.
#pragma once

#include <array>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "calm/compose/join.hpp"
#include "calm/nn/linear.hpp"
#include "calm/nn/norm.hpp"
#include "calm/tensor/ops/multiply_rows.hpp"
#include "calm/tensor/ops/reshape.hpp"
#include "calm/tensor/ops/share.hpp"
#include "calm/tensor/ops/symmetric_sum.hpp"

namespace calm {

namespace detail {

/// The heads of a softmax over the keys of several augments.
template <std::size_t N>
struct JointHeads {
  static constexpr std::size_t extent = N;
};

/// The same bridge without a sink of its own.
template <class Options>
struct WithoutSink {
  static constexpr BridgeConfig config = [] {
    BridgeConfig c;
    if constexpr (requires { Options::config; }) c = Options::config;  // one error, not many
    c.sink = false;
    return c;
  }();
};
template <class Options>
struct WithoutSinkOf {
  static_assert(requires { Options::config; },
                "calm::join::JointSoftmax: bridges of a user's own have no scores to share a softmax by; give "
                "join::Sum or join::Router");
  using type = WithoutSink<Options>;
};
template <class Options>
struct WithoutSinkOf<WithoutSink<Options>> {
  using type = WithoutSink<Options>;
};

/// How many links of all the passes are behind `Layer`.
template <std::size_t Layer, class... Pass>
constexpr std::size_t links_here(std::type_identity<std::tuple<Pass...>>) {
  return (here<Layer, Pass>.size() + ...);
}

/// The softmax across up to `N` scores. Each share reads copies of the scores, whose gradients come together in no
/// order, and so does the null score's.
template <std::size_t N, class Score, class Null = NoNull>
class Shares {
 public:
  explicit Shares(const OperandList<Score>& scores, const Null& null = {}) {
    const std::size_t n = scores.size();
    for (const Score& score : scores) {
      const auto copies = fan_out(score, n);
      for (std::size_t i = 0; i < n; ++i) scores_[i].push_back(copies[i]);
    }
    if constexpr (Operand<Null>) {
      const auto copies = fan_out(null, n);
      for (std::size_t i = 0; i < n; ++i) null_[i] = copies[i];
    }
  }

  /// That of score i.
  auto operator[](std::size_t i) const { return share(i, scores_[i], null_[i]); }

 private:
  std::array<OperandList<Score>, N> scores_;
  std::array<Null, N> null_;
};

template <class... Branches>
constexpr std::size_t joint_heads() {
  constexpr std::array heads{Branches::bridge_type::Head::extent...};
  static_assert(((Branches::bridge_type::Head::extent == heads[0]) && ...),
                "calm::join::JointSoftmax: all bridges need the same number of heads");
  return heads[0];
}

/// What a bridge of `Pass` reads for state H.
template <class H, class Pass>
using HeadsReadBy = typename decltype(std::declval<Pass&>().bridge(0).read(
    std::declval<const H&>(), std::declval<Pass&>().source(0), std::declval<Pass&>().seen))::first_type;

template <std::size_t Layer, class H, class Pass>
struct ReadingsOf {
  using type = OperandList<HeadsReadBy<H, Pass>>;
};
template <std::size_t Layer, class H, class Pass>
  requires(here<Layer, Pass>.empty())
struct ReadingsOf<Layer, H, Pass> {
  using type = std::tuple<>;
};
template <std::size_t Layer, class H, class Passes>
struct AllReadings;
template <std::size_t Layer, class H, class... Pass>
struct AllReadings<Layer, H, std::tuple<Pass...>> {
  using type = std::tuple<typename ReadingsOf<Layer, H, Pass>::type...>;
};

}  // namespace detail

namespace join {

/// One softmax per head over the keys of all bridges behind a layer and a learned null key that brings nothing. It is
/// put together from each bridge's own softmax and the log of that one's sum, which gives the same numbers. The null
/// key takes the place of the bridges' sinks.
struct JointSoftmax {
  template <class Part>
  using Adapted =
      typename Part::template with_options<typename detail::WithoutSinkOf<typename Part::options>::type>;

  /// What is trained besides the bridges.
  template <class Anchor, class... Branches>
  struct Parameters {
    static constexpr std::size_t heads = detail::joint_heads<Branches...>();
    using Null = TrainableParameter<
        Tensor<typename Anchor::value_type, typename Anchor::device, detail::JointHeads<heads>>>;
    static constexpr std::size_t stops = detail::stops_before<Branches...>(Anchor::depth);
    static constexpr std::size_t parameter_count = stops * heads;

    std::array<Null, stops> null;  ///< the null key's score, per head, behind each layer that has links

    template <std::size_t Layer>
    auto null_behind() const {
      return null[detail::stops_before<Branches...>(Layer)]();
    }
    void visit(auto&& v) { v("null", null); }
  };

  template <std::size_t Layer, Operand H, class P, class Passes>
  static auto apply(const H& h, const P& parameters, Passes& passes) {
    using Heads = detail::JointHeads<P::heads>;
    using T = typename ValueOf<H>::value_type;
    using Score = Var<Tensor<T, typename ValueOf<H>::device, Batch, Time, Heads>>;
    detail::Joint<Layer, H, Passes> joint(h);
    typename detail::AllReadings<Layer, H, Passes>::type readings;
    OperandList<Score> scores;
    detail::for_each_here<Layer>(passes, [&](auto p, auto& pass) {
      using Head = typename std::remove_cvref_t<decltype(pass)>::branch_type::bridge_type::Head;
      detail::for_each_link<Layer>(pass, [&](const auto& bridge, std::size_t i) {
        auto [read, score] = bridge.read(joint.state(p), pass.source(i), pass.seen);
        std::get<p>(readings).push_back(std::move(read));
        scores.push_back(rename<Head, Heads>(score));
      });
    });
    const auto null = parameters.template null_behind<Layer>();
    constexpr std::size_t links = detail::links_here<Layer>(std::type_identity<Passes>{});
    const detail::Shares<links, Score, std::remove_const_t<decltype(null)>> shares(scores, null);
    std::size_t n = 0;
    detail::for_each_here<Layer>(passes, [&](auto p, auto& pass) {
      using Head = typename std::remove_cvref_t<decltype(pass)>::branch_type::bridge_type::Head;
      std::size_t k = 0;
      detail::for_each_link<Layer>(pass, [&](const auto& bridge, std::size_t i) {
        const auto weight = rename<Heads, Head>(shares[n++]);
        pass.observer.shared(i, weight);
        const auto read = multiply_rows(std::get<p>(readings)[k++], weight);
        joint.add(p, pass, i, bridge.write(joint.state(p), read));
      });
    });
    return joint.result();
  }
};

/// Each token weighs the bridges behind a layer by a softmax over scores that it gives them: w·norm(h) + b, with w, b
/// and the norm's scale learned per bridge. At the start all weigh the same.
struct Router {
  template <class Part>
  using Adapted = Part;

  /// The score of one bridge.   h: [Batch, Time, Hidden<Anchor>] -> [Batch, Time, One]
  template <class Anchor>
  struct Scorer {
    using Hidden = nn::Hidden<typename Anchor::spec>;
    using Norm = nn::Norm<Hidden, nn::NormKind::rms, typename Anchor::value_type, typename Anchor::device, Trainable>;
    using Score = nn::Linear<Hidden, One, typename Anchor::value_type, typename Anchor::device, Trainable, true>;
    static constexpr std::size_t parameter_count = Norm::parameter_count + Score::parameter_count;

    Norm norm;
    Score score;

    template <Operand H>
    auto operator()(const H& h) const {
      return score(norm(h, 1e-6));
    }
    void visit(auto&& v) {
      v("norm", norm);
      v("score", score);
    }
  };

  /// What is trained besides the bridges: a scorer of each.
  template <class Anchor, class... Branches>
  struct Parameters {
    static constexpr std::size_t parameter_count = (Branches::links + ...) * Scorer<Anchor>::parameter_count;

    std::tuple<std::array<Scorer<Anchor>, Branches::links>...> scorers;

    void visit(auto&& v) { detail::visit_numbered(scorers, v); }
  };

  template <std::size_t Layer, Operand H, class P, class Passes>
  static auto apply(const H& h, const P& parameters, Passes& passes) {
    using T = typename ValueOf<H>::value_type;
    using Hidden = LastAxisOf<ValueOf<H>>;
    using Score = Var<Tensor<T, typename ValueOf<H>::device, Batch, Time, One>>;
    detail::Joint<Layer, H, Passes> joint(h);
    OperandList<Score> scores;
    detail::for_each_here<Layer>(passes, [&](auto p, auto& pass) {
      detail::for_each_link<Layer>(pass, [&](const auto&, std::size_t i) {
        scores.push_back(std::get<p>(parameters.scorers)[i](joint.state(p)));
      });
    });
    constexpr std::size_t links = detail::links_here<Layer>(std::type_identity<Passes>{});
    const detail::Shares<links, Score> shares(scores);
    std::size_t n = 0;
    detail::for_each_here<Layer>(passes, [&](auto p, auto& pass) {
      detail::for_each_link<Layer>(pass, [&](const auto& bridge, std::size_t i) {
        const auto added = bridge(joint.state(p), pass.source(i), pass.seen);
        const auto weight = shares[n++];
        pass.observer.shared(i, weight);
        const auto weighed = multiply_rows(split<Hidden, One, Hidden>(added), weight);
        joint.add(p, pass, i, merge<One, Hidden, Hidden>(weighed));
      });
    });
    return joint.result();
  }
};

}  // namespace join
}  // namespace calm
