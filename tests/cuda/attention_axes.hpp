/// \file  Axes and extents of attention's tests, of any length.
#pragma once

#include <cstddef>

namespace calm::test {

template <std::size_t N, int Tag>
struct Extent {
  static constexpr std::size_t extent = N;
};
template <std::size_t N>
using Heads = Extent<N, 0>;
template <std::size_t N>
using KeyHeads = Extent<N, 1>;
template <std::size_t N>
using Width = Extent<N, 2>;

struct Sizes {
  std::size_t batch, queries, keys;
};

}  // namespace calm::test
