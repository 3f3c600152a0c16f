/// \file  f_proj, of full or low rank, and the matrices into which it folds.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/nn/linear.hpp"
#include "calm/nn/lora.hpp"  // nn::RankAxis

namespace calm {

/// f_proj of low rank: up(down(x)).   x: [..., From] -> [..., To]; a bias on `down` would fold into that on `up`
template <Axis From, Axis To, std::size_t Rank, class T, class Device, class Mode, bool Bias>
struct LowRankProjection {
  using Down = nn::Linear<From, nn::RankAxis<Rank>, T, Device, Mode>;
  using Up = nn::Linear<nn::RankAxis<Rank>, To, T, Device, Mode, Bias>;
  static constexpr std::size_t parameter_count = Down::parameter_count + Up::parameter_count;

  Down down;
  Up up;

  template <Operand X>
  auto operator()(const X& x) const {
    return up(down(x));
  }

  void visit(auto&& v) {
    v("down", down);
    v("up", up);
  }
};

/// One matrix for rank 0, else two.
template <Axis From, Axis To, std::size_t Rank, class T, class Device, class Mode, bool Bias>
using Projection = std::conditional_t<Rank == 0, nn::Linear<From, To, T, Device, Mode, Bias>,
                                      LowRankProjection<From, To, Rank, T, Device, Mode, Bias>>;

namespace detail {

/// a · b.   a: [Out, Middle], b: [Middle, In] -> [Out, In]
///
/// Not `linear`, which reads a weight's order off its axes and so takes b for [Out, In] where Middle and In are one
/// type, as they are between two models of one kind.
template <Axis Out, Axis Middle, Axis In, class T, class Device>
Tensor<T, Device, Out, In> product(const Tensor<T, Device, Out, Middle>& a, const Tensor<T, Device, Middle, In>& b) {
  Tensor<T, Device, Out, In> w{{}};
  kernel::gemm(Device{}, kernel::Op::none, kernel::Op::none, Out::extent, In::extent, Middle::extent, one<T>,
               {a.data(), Middle::extent}, {b.data(), In::extent}, false, {w.mutable_data(), In::extent});
  return w;
}

/// The matrix of a projection.   [To, From]
template <class P>
auto matrix_of(const P& projection) {
  if constexpr (requires { projection.down; })
    return product(projection.up.weight.value(), projection.down.weight.value());
  else
    return projection.weight.value();
}
/// Its bias.   [To]
template <class P>
const auto& bias_of(const P& projection) {
  if constexpr (requires { projection.down; })
    return projection.up.bias.value();
  else
    return projection.bias.value();
}

}  // namespace detail
}  // namespace calm
