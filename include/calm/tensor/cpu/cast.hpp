/// \file  Host kernels that convert element types.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/cpu/rows.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

/// y[i] = x[i], rounded to nearest even
inline void store_row(std::size_t n, const float* x, bf16* y) {
  with_row_kernels([=](auto set) { set.cast(n, x, y); });
}

/// The same where nothing is rounded.
template <class T>
void store_row(std::size_t n, const T* x, T* y) {
  std::copy_n(x, n, y);
}

}  // namespace detail

/// y[i] = x[i] as U, rounded to nearest; the 16-bit types are reached through float
template <class T, class U>
void cast(Cpu, std::size_t n, const T* x, U* y) {
  using Via = std::conditional_t<sizeof(T) == 2 || sizeof(U) == 2, float, T>;
  parallel_ranges(n, 1 << 15, [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) y[i] = static_cast<U>(static_cast<Via>(x[i]));
  });
}

}  // namespace calm::kernel
