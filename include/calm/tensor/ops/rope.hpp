/// \file  Rotary positions.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/rope.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/rope_options.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// Which elements of a head turn together: k and k + width/2 (Llama, NeoX), or 2k and 2k + 1 (the paper, GPT-J).
enum class RopeLayout : bool { half_split, interleaved };

namespace detail {

template <class X, class P>
inline constexpr bool positions_fit = false;
template <class T, class D, class B, class S, class H, class W, class U>
inline constexpr bool positions_fit<Tensor<T, D, B, S, H, W>, Tensor<U, D, B, S>> =
    W::extent != dynamic && W::extent % 2 == 0;

}  // namespace detail

/// Whether `rope(x, positions, theta)` is defined: x is [B, S, Heads, Width] of even width, positions [B, S].
template <class X, class P>
concept Rotatable = Operand<X> && detail::is_tensor<P> && std::is_same_v<typename P::value_type, Index> &&
                    detail::positions_fit<ValueOf<X>, P>;

/// The cosines and sines, times `magnitude`, by which `rope` turns heads of axis `Width`; made once, they serve every
/// layer.
/// positions: [...] of Index -> [..., Width], the cosines in the first half
template <class Width, class A, class P>
auto rotations(const P& positions, const RopeOptions& options) {
  static_assert(std::is_same_v<typename P::value_type, Index>, "calm::rotations: positions are a Tensor of Index");
  static_assert(Width::extent != dynamic && Width::extent % 2 == 0,
                "calm::rotations: the width of a head must be fixed and even");
  using Row = Tensor<A, typename P::device, Width>;
  using Out = detail::WithAppended<Row, P, Width>;
  Out table(Out::shape_type::from(positions.shape().dynamic_extents()));
  using Device = typename P::device;
  const std::size_t pairs = (options.turned ? options.turned : Width::extent) / 2;
  std::array<double, Width::extent / 2> frequency{};
  for (std::size_t k = 0; k < pairs; ++k) frequency[k] = rope_frequency(options, k, Width::extent);
  kernel::rotations(Device{}, positions.size(), Width::extent, frequency.data(), positions.data(),
                    table.mutable_data());
  if (options.magnitude != 1)
    kernel::scale(Device{}, table.size(), static_cast<A>(options.magnitude), table.data(), table.mutable_data());
  return table;
}

/// What `rotations` makes for heads of tensor type `X` = [B, S, Heads, Width].
template <class X>
using RotationsOf =
    Tensor<Accumulator<typename X::value_type>, typename X::device, AxisOf<X, 0>, AxisOf<X, 1>, LastAxisOf<X>>;

/// Whether `rope(x, table)` is defined: the table is one for x.
template <class X, class Table>
concept RotatableBy = Operand<X> && ValueOf<X>::rank == 4 && std::is_same_v<Table, RotationsOf<ValueOf<X>>>;

namespace detail {

inline void require_rope_places(std::array<std::size_t, 2> x, std::array<std::size_t, 2> positions) {
  require(x == positions, [&] {
    return "calm::rope: x has " + std::to_string(x[0]) + " by " + std::to_string(x[1]) +
           " places, the positions " + std::to_string(positions[0]) + " by " + std::to_string(positions[1]);
  });
}

template <class X>
struct RopeNode {
  RotationsOf<X> table;
  Slot x_slot;
  RopeLayout layout;
  std::size_t heads, turned;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    const auto dx = tape.template target<T>(x_slot);
    kernel::rope_backward(typename X::device{}, rows_of(table), heads, LastAxisOf<X>::extent, turned,
                          layout == RopeLayout::interleaved, table.data(), tape.template incoming<T>(out), dx.data,
                          dx.adds);
  }
};

}  // namespace detail

/// x with the pairs of each head turned by the angles of which `rotations` made the table; of each head, the first
/// `turned` elements (0: all), the others stay.
///
/// x: [B, S, Heads, Width], table: [B, S, Width] -> [B, S, Heads, Width]   (Su et al. 2021, eq. 34)
/// Throws `Error` where x and the table differ in B or S.
template <Operand X, class Table>
auto rope(const X& x, const Table& table, RopeLayout layout = RopeLayout::half_split, std::size_t turned = 0) {
  static_assert(RotatableBy<X, Table>,
                "calm::rope: x must be [B, S, Heads, Width], and the rotations those of [B, S] and Width");
  if constexpr (RotatableBy<X, Table>) {
    using In = ValueOf<X>;
    const auto extents = value(x).shape().extents();
    detail::require_rope_places({extents[0], extents[1]}, {table.extent(0), table.extent(1)});
    if (turned == 0) turned = LastAxisOf<In>::extent;
    In y(value(x).shape());
    kernel::rope(typename In::device{}, rows_of(table), extents[2], LastAxisOf<In>::extent, turned,
                 layout == RopeLayout::interleaved, table.data(), value(x).data(), y.mutable_data());
    if constexpr (is_var<X>) {
      return record(tape_of(x), std::move(y),
                    [&] { return detail::RopeNode<In>{table, slot_of(x), layout, extents[2], turned}; });
    } else {
      return y;
    }
  }
}

/// The same with pair k of each head turned by positions · rope_frequency(options, k, Width).
///
/// x: [B, S, Heads, Width], positions: [B, S] of Index -> [B, S, Heads, Width]
template <Operand X, class P>
auto rope(const X& x, const P& positions, const RopeOptions& options, RopeLayout layout = RopeLayout::half_split) {
  static_assert(Rotatable<X, P>,
                "calm::rope: x must be [B, S, Heads, Width] with an even width, and positions [B, S] of Index");
  if constexpr (Rotatable<X, P>) {
    using In = ValueOf<X>;
    const auto table = rotations<LastAxisOf<In>, Accumulator<typename In::value_type>>(positions, options);
    return rope(x, table, layout, options.turned);
  }
}
/// The same with pair k turned by positions · theta^(-2k/Width).
template <Operand X, class P>
auto rope(const X& x, const P& positions, double theta, RopeLayout layout = RopeLayout::half_split) {
  return rope(x, positions, RopeOptions{.theta = theta}, layout);
}

}  // namespace calm
