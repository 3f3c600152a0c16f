/// \file  Host kernels that convert element types.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "calm/tensor/cpu/lanes.hpp"  // vector_bytes
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

/// y[i] = x[i], rounded to nearest even; written out, since compilers leave it number by number at -O2.
inline void store_row(std::size_t n, const float* x, bf16* y) {
  typedef std::uint32_t Whole __attribute__((vector_size(vector_bytes)));
  typedef std::uint16_t Half __attribute__((vector_size(vector_bytes / 2)));
  constexpr std::size_t count = vector_bytes / sizeof(float);
  const std::size_t whole = n / count * count;
  for (std::size_t i = 0; i < whole; i += count) {
    Whole u;
    std::memcpy(&u, x + i, sizeof(u));
    const Whole is_nan = (Whole)((u & 0x7fffffffu) > 0x7f800000u);
    const Whole rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, quiet = (u >> 16) | 0x40u;
    const Half half = __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), Half);
    std::memcpy(static_cast<void*>(y + i), &half, sizeof(half));
  }
  for (std::size_t i = whole; i < n; ++i) y[i] = bf16(x[i]);
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
