/// \file  How what several bridges say at one anchor layer becomes one addition to its state.
///
/// All of them read the state itself, so none sees what another has added. The sums are such that the order of the
/// augments changes no bit.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "calm/compose/branch.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/symmetric_sum.hpp"

namespace calm {

namespace detail {

/// f(i, array i) for arrays of a tuple, as children of a module: their names are numbers.
template <class Tuple, class V>
void visit_numbered(Tuple& children, V&& v) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (v(std::to_string(I), std::get<I>(children)), ...);
  }(std::make_index_sequence<std::tuple_size_v<Tuple>>{});
}

template <std::size_t Layer, class Pass>
inline constexpr LinkRange here = links_behind<typename Pass::branch_type::map>(Layer);

/// f(p, pass) for each pass p of the tuple that has links behind `Layer`; p is a constant.
template <std::size_t Layer, class... Pass, class F>
void for_each_here(std::tuple<Pass...>& passes, const F& f) {
  [&]<std::size_t... P>(std::index_sequence<P...>) {
    const auto one = [&](auto p) {
      auto& pass = std::get<p>(passes);
      if constexpr (!here<Layer, std::remove_cvref_t<decltype(pass)>>.empty()) f(p, pass);
    };
    (one(std::integral_constant<std::size_t, P>{}), ...);
  }(std::index_sequence_for<Pass...>{});
}

/// f(bridge, link) for each link of the pass behind `Layer` that is on. A link that is off is not computed.
template <std::size_t Layer, class Pass, class F>
void for_each_link(Pass& pass, const F& f) {
  for (std::size_t i = here<Layer, Pass>.first; i < here<Layer, Pass>.last; ++i) {
    if (pass.branch.scale[i] != 0) f(pass.bridge(i), i);
  }
}

/// x as a variable where `Wanted` is one.
template <class Wanted, Operand X>
Wanted made(X x) {
  if constexpr (is_var<Wanted> && !is_var<X>)
    return as_var(std::move(x));
  else
    return x;
}

/// What bridges of a pass give for state H.
template <class H, class Pass>
using AddedBy = decltype(std::declval<Pass&>().bridge(0)(std::declval<const H&>(), std::declval<Pass&>().source(0),
                                                         std::declval<Pass&>().seen));
/// What is added to state H behind `Layer`: a variable if one of the parts is.
template <std::size_t Layer, class H, class... Pass>
constexpr bool adds_var(std::type_identity<std::tuple<Pass...>>) {
  const auto one = []<class P>(std::type_identity<P>) {
    if constexpr (here<Layer, P>.empty())
      return false;
    else
      return is_var<AddedBy<H, P>>;
  };
  return is_var<H> || (one(std::type_identity<Pass>{}) || ...);
}
template <std::size_t Layer, class H, class Passes>
using SumAt = std::conditional_t<adds_var<Layer, H>(std::type_identity<Passes>{}), Var<ValueOf<H>>, ValueOf<H>>;

/// How many of the passes have links behind `Layer`.
template <std::size_t Layer, class... Pass>
constexpr std::size_t branches_here(std::type_identity<std::tuple<Pass...>>) {
  return (0 + ... + (here<Layer, Pass>.empty() ? 0 : 1));
}

/// The state that all bridges behind one layer read, and the sum of what they give. With several branches each reads a
/// copy, whose gradients come together in no order.
template <std::size_t Layer, Operand H, class Passes>
class Joint {
 public:
  using Added = SumAt<Layer, H, Passes>;
  static constexpr std::size_t passes = std::tuple_size_v<Passes>;
  static constexpr bool several = branches_here<Layer>(std::type_identity<Passes>{}) > 1;

  explicit Joint(const H& h) : copies_(copies_of(h)) {}

  /// The state as pass p reads it.
  const H& state(std::size_t p) const { return copies_[several ? p : 0]; }

  /// What link i of pass p brings.
  template <class Pass, Operand X>
  void add(std::size_t p, Pass& pass, std::size_t i, X x) {
    Added added = made<Added>(std::move(x));
    if (pass.branch.scale[i] != 1) added = scale(added, pass.branch.scale[i]);
    pass.observer.added(i, pass.bridge(i), state(p), pass.source(i), pass.seen, added);
    Added& sum = sums_[several ? p : 0];
    sum = std::exchange(any_[several ? p : 0], true) ? sum + added : added;
  }

  /// The state plus everything that was added; where nothing was, the state itself, as what it would have become.
  auto result() const {
    using Result = decltype(std::declval<Added>() + std::declval<H>());
    const H& h = copies_[copies_.size() - 1];
    if constexpr (several) {
      OperandList<Added> sums;
      for (std::size_t p = 0; p < passes; ++p) {
        if (any_[p]) sums.push_back(sums_[p]);
      }
      return sums.size() > 0 ? Result(symmetric_sum(sums) + h) : made<Result>(h);
    } else {
      return any_[0] ? Result(sums_[0] + h) : made<Result>(h);
    }
  }

 private:
  static constexpr std::size_t own = several ? passes : 1;

  static auto copies_of(const H& h) {
    if constexpr (several)
      return fan_out(h, passes);
    else
      return std::array<H, 1>{h};
  }

  decltype(copies_of(std::declval<const H&>())) copies_;
  std::array<Added, own> sums_;
  std::array<bool, own> any_{};
};

}  // namespace detail

/// How the bridges at one anchor layer are joined. A policy `apply<Layer>(h, parameters, passes)` gives h plus what is
/// added behind that layer.
namespace join {

/// Their sum.
struct Sum {
  template <class Part>
  using Adapted = Part;

  /// What is trained besides the bridges.
  template <class Anchor, class... Branches>
  struct Parameters {
    static constexpr std::size_t parameter_count = 0;
    void visit(auto&&) {}
  };

  template <std::size_t Layer, Operand H, class P, class Passes>
  static auto apply(const H& h, const P&, Passes& passes) {
    detail::Joint<Layer, H, Passes> joint(h);
    detail::for_each_here<Layer>(passes, [&](auto p, auto& pass) {
      detail::for_each_link<Layer>(pass, [&](const auto& bridge, std::size_t i) {
        joint.add(p, pass, i, bridge(joint.state(p), pass.source(i), pass.seen));
      });
    });
    return joint.result();
  }
};

}  // namespace join
}  // namespace calm
