/// \file  Registers of numbers: how many they hold, and the moves among their lanes.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "calm/tensor/dtype.hpp"

#define CALM_KERNELS "calm/tensor/cpu/registers.hpp"
#include "calm/tensor/cpu/each_set.hpp"

namespace calm::kernel::detail {

template <class A>
using Lanes = native::Register<A>;

/// A matrix whose element (i, k) stands at data[i * row + k * column].
template <class A>
struct Strided {
  const A* data;
  std::size_t row, column;
};

/// One step of a transposition: of each 2 × 2 block of blocks of `S` by `S` numbers, those off the diagonal change
/// places.
template <std::size_t S, class V, std::size_t... I>
[[gnu::always_inline]] inline void exchange(V& a, V& b, std::index_sequence<I...>) {
  constexpr int n = sizeof...(I), s = static_cast<int>(S);
  const V low = __builtin_shufflevector(a, b, (int(I) & s ? n + int(I) - s : int(I))...);
  const V high = __builtin_shufflevector(a, b, (int(I) & s ? n + int(I) : int(I) + s)...);
  a = low, b = high;
}

}  // namespace calm::kernel::detail
