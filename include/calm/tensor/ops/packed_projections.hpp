/// \file  Products of one input with several packed weights, as attention needs them, as one operation.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/packed_gradient.hpp"
#include "calm/tensor/ops/packed_linear.hpp"
#include "calm/tensor/ops/rope.hpp"

namespace calm {

/// A packed weight of whose product each head, as wide as the table, turns as `rope` turns it. It refers to both.
template <PackedMatrix W, class Table>
struct Rotated {
  const W& weight;
  const Table& table;
  RopeLayout layout = RopeLayout::half_split;
  std::size_t turned = 0;  ///< of each head, the first so many elements; 0: all
};

/// Whether heads so wide turn as they are projected.
template <std::size_t Width>
inline constexpr bool turns_within_products = Width % 2 == 0 && Width <= kernel::detail::widest_turned;

namespace detail {

template <class P>
inline constexpr bool is_rotated = false;
template <class W, class Table>
inline constexpr bool is_rotated<Rotated<W, Table>> = true;

template <class P>
const auto& packed_weight(const P& p) {
  if constexpr (is_rotated<P>)
    return p.weight;
  else
    return p;
}
template <class P>
using PackedWeightOf = std::remove_cvref_t<decltype(packed_weight(std::declval<const P&>()))>;

/// How the heads of x · Wᵀ turn.
template <class In, class P>
auto head_turn(const In& x, const P& p) {
  kernel::HeadTurn<typename In::value_type> turn;
  if constexpr (is_rotated<P>) {
    using Table = std::remove_cvref_t<decltype(p.table)>;
    constexpr std::size_t width = LastAxisOf<Table>::extent;
    static_assert(same_kind<In, Table> && In::rank == 3 && Table::rank == 3 && turns_within_products<width> &&
                      PackedWeightOf<P>::out % width == 0,
                  "calm::linear: the rotations must be [B, S, Width] for x: [B, S, In] and heads of Width");
    require_rope_places({x.extent(0), x.extent(1)}, {p.table.extent(0), p.table.extent(1)});
    turn = {p.table.data(), width, p.turned ? p.turned : width, p.layout == RopeLayout::interleaved};
  }
  return turn;
}
/// What keeps the table of p.
template <class Device, class P>
Storage<Device> table_of(const P& p) {
  if constexpr (is_rotated<P>)
    return p.table.storage();
  else
    return {};
}

template <class X, class... W>
struct PackedProjectionsNode {
  static constexpr bool several_results = true;
  static constexpr std::size_t count = sizeof...(W);
  using T = typename X::value_type;
  using First = std::tuple_element_t<0, std::tuple<W...>>;
  using Stored = typename First::stored_type;
  using Side = kernel::PackedGradient<Stored, T>;

  std::tuple<W...> weights;  // which the sides point to, as to the tables
  std::array<Storage<Cpu>, count> tables;
  std::array<Side, count> sides;
  std::array<Slot, count> slots;  // but the first
  Slot x_slot;
  std::size_t rows;

  void backward(Tape<Cpu>& tape, Slot out) {
    slots[0] = out;
    std::array<Side, count> there;
    std::size_t n = 0;
    for (std::size_t i = 0; i < count; ++i) {
      sides[i].dy = tape.template incoming<T>(slots[i]);
      if (sides[i].dy) there[n++] = sides[i];
    }
    if (n > 0) {
      const auto dx = tape.template target<T>(x_slot);
      kernel::multiply_packed_transposed_each<Stored, T>(Cpu{}, rows, First::in, std::span(there.data(), n), dx.adds,
                                                         dx.data);
    }
    for (std::size_t i = 1; i < count; ++i) tape.release(slots[i]);
  }
};

/// The products y of x with several weights, as variables if x is one.
template <class X, class... Y, class... P>
auto packed_results(const X& x, std::tuple<Y...> y, const P&... p) {
  if constexpr (is_var<X>) {
    using Node = PackedProjectionsNode<ValueOf<X>, PackedWeightOf<P>...>;
    Tape<Cpu>* const tape = tape_of(x);
    std::array<Slot, sizeof...(P)> slots{};
    const auto results = [&]<std::size_t... I>(std::index_sequence<I...>) {
      if (tape) ((slots[I] = I == 0 ? 0 : tape->new_slot(std::get<I>(y).size() * sizeof(typename Y::value_type))), ...);
      auto first = record(tape, std::get<0>(y), [&] {
        return Node{{packed_weight(p)...},
                    {table_of<Cpu>(p)...},
                    {{{packed_weight(p).data(), packed_weight(p).out, nullptr, head_turn(value(x), p)}...}},
                    slots,
                    slot_of(x),
                    rows_of(value(x))};
      });
      slots[0] = first.slot;
      return std::tuple{Var<Y>{std::move(std::get<I>(y)), tape, slots[I]}...};
    };
    return results(std::index_sequence_for<P...>{});
  } else {
    return y;
  }
}

}  // namespace detail

/// Whether `linear` takes P beside others: a packed weight, or one whose heads turn.
template <class P>
concept PackedProjection = PackedMatrix<P> || detail::is_rotated<P>;

/// x · Wᵀ for each of several weights, as a tuple; where a weight is `Rotated`, its heads turned while they are in the
/// cache. On the host; the bits are those of `linear` of each, and `rope`.
///
/// x: [..., In], W: [Out, In] -> [..., Out]; throws `Error` where x and a table differ in their places.
template <Operand X, PackedProjection First, PackedProjection... P>
  requires(sizeof...(P) > 0)
auto linear(const X& x, const First& first, const P&... p) {
  using In = ValueOf<X>;
  constexpr bool fits = detail::multiplies_packed<In, detail::PackedWeightOf<First>>() &&
                        (detail::multiplies_packed<In, detail::PackedWeightOf<P>>() && ...);
  if constexpr (fits) {
    using Weight = detail::PackedWeightOf<First>;
    using Side = kernel::PackedSide<typename Weight::stored_type>;
    std::tuple results{detail::packed_output<Weight>(value(x)),
                       detail::packed_output<detail::PackedWeightOf<P>>(value(x))...};
    std::apply(
        [&](auto&... y) {
          const auto side = [&](const auto& by, auto& to) {
            const auto& w = detail::packed_weight(by);
            return Side{w.data(), w.out, to.mutable_data(), false, detail::head_turn(value(x), by)};
          };
          const auto sides = [&](const auto&... by) { return std::array{side(by, y)...}; }(first, p...);
          kernel::multiply_packed_each(Cpu{}, rows_of(value(x)), Weight::in, value(x).data(), sides);
        },
        results);
    return detail::packed_results(x, std::move(results), first, p...);
  }
}

}  // namespace calm
