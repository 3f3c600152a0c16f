/// \file  Conversion of element types.
#pragma once

#include <type_traits>

#include "calm/tensor/cpu/cast.hpp"
#include "calm/tensor/ops/axes.hpp"

namespace calm {

/// Whether `cast` is defined: values without a gradient. A gradient has the type of its value, and stays there.
template <class X>
concept Castable = detail::is_tensor<X>;

/// x with elements of type `U`, rounded to nearest; x itself, sharing its memory, where they are already.
/// x: [...] -> [...]
template <class U, class X>
auto cast(const X& x) {
  static_assert(Castable<X>, "calm::cast: expects a Tensor; a Var, or its gradient, is never converted");
  if constexpr (Castable<X>) {
    if constexpr (std::is_same_v<U, typename X::value_type>) {
      return x;
    } else {
      using Out = typename detail::TensorOn<U, typename X::device, typename detail::ListOf<X>::type>::type;
      Out y(x.shape());
      kernel::cast(typename X::device{}, y.size(), x.data(), y.mutable_data());
      return y;
    }
  }
}

}  // namespace calm
