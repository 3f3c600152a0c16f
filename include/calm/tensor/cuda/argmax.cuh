/// \file  The GPU's kernel that finds the largest number of each row: greedy decoding.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"

namespace calm::cuda {

/// The largest number so far and where it stands; of equals, the first. Both are equally wide, so it has no padding,
/// which would be copied though nobody wrote it.
template <class A>
struct Best {
  A value;
  std::conditional_t<sizeof(A) == sizeof(std::int64_t), std::int64_t, Index> at;
};
struct JoinBest {
  template <class A>
  CALM_KERNEL Best<A> operator()(Best<A> a, Best<A> b) const {
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
  }
};

/// Numbers that one team looks at.
inline constexpr std::size_t argmax_part = 4096;

/// parts[r, part] = the best of one part of row r
template <class T>
struct BestOfPart {
  using A = Accumulator<T>;
  std::size_t cols, count;
  const T* x;
  Best<A>* parts;
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const std::size_t first = item % count * argmax_part;
    const std::size_t n = cols - first < argmax_part ? cols - first : argmax_part;
    const T* from = x + item / count * cols + first;
    const auto best = team.fold(n, none(), [&](std::size_t i) {
      return Best<A>{wide(from[i]), static_cast<Index>(first + i)};
    }, JoinBest{});
    team.each(1, [&](std::size_t) { parts[item] = best; });
  }
  CALM_KERNEL static Best<A> none() { return {-std::numeric_limits<A>::infinity(), std::numeric_limits<Index>::max()}; }
};

/// best[r] = the place of the best of the parts; 0 where nothing is a number
template <class T>
struct BestOfParts {
  using A = Accumulator<T>;
  std::size_t count;
  const Best<A>* parts;
  Index* best;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    const auto all = team.fold(count, BestOfPart<T>::none(), [&](std::size_t i) { return parts[r * count + i]; },
                               JoinBest{});
    team.each(1, [&](std::size_t) {
      best[r] = all.at == std::numeric_limits<Index>::max() ? 0 : static_cast<Index>(all.at);
    });
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void argmax_rows(Cuda, std::size_t rows, std::size_t cols, const T* x, Index* best) {
  const std::size_t count = (cols + cuda::argmax_part - 1) / cuda::argmax_part;
  const cuda::Scratch<cuda::Best<Accumulator<T>>> parts(rows * count);
  cuda::teams("argmax_rows", rows * count, cuda::argmax_part, cuda::BestOfPart<T>{cols, count, x, parts.data()});
  cuda::teams("argmax_rows", rows, count, cuda::BestOfParts<T>{count, parts.data(), best});
}

#define CALM_ARGMAX(T) template void argmax_rows<T>(Cuda, std::size_t, std::size_t, const T*, Index*);
CALM_FOR_COMPUTE_TYPES(CALM_ARGMAX)
#undef CALM_ARGMAX

}  // namespace calm::kernel
