/// \file  What the operations' shape rules share.
#pragma once

#include <type_traits>

#include "calm/tensor/tensor.hpp"

namespace calm {

/// Whether two tensor types are on one device, have one element type, or both.
template <class X, class Y>
inline constexpr bool same_device = std::is_same_v<typename X::device, typename Y::device>;
template <class X, class Y>
inline constexpr bool same_dtype = std::is_same_v<typename X::value_type, typename Y::value_type>;
template <class X, class Y>
inline constexpr bool same_kind = same_device<X, Y> && same_dtype<X, Y>;

/// 1, in the type that kernels scale by.
template <class T>
inline constexpr Accumulator<T> one = Accumulator<T>(1);

}  // namespace calm
