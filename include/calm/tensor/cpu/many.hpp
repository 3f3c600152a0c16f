/// \file  What host kernels over lists of arrays share: columns of numbers, put in order.
#pragma once

#include <cstddef>
#include "calm/tensor/arguments.hpp"

namespace calm::kernel {

namespace detail {

/// How many places kernels over lists work on at a time: numbers stand as [array][place], so that loops vectorise.
inline constexpr std::size_t place_block = 64;

/// Sorts the `n` numbers of each of `width` places, so that what is added up in this order no longer depends on the
/// order of the arrays. Exchanges and never chooses: a NaN stays among the numbers.
template <class A>
void sort_places(std::size_t n, std::size_t width, A (*v)[place_block]) {
  for (std::size_t i = 1; i < n; ++i) {
    for (std::size_t j = i; j > 0; --j) {
      A *low = v[j - 1], *high = v[j];
      for (std::size_t c = 0; c < width; ++c) {
        const A a = low[c], b = high[c];
        low[c] = b < a ? b : a;
        high[c] = b < a ? a : b;
      }
    }
  }
}

}  // namespace detail
}  // namespace calm::kernel
