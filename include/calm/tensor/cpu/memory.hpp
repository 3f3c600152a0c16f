/// \file  Host kernels that move, fill and add memory.
#pragma once

#include <cstddef>
#include <cstring>

#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// y[i] = value
template <class T>
void fill(Cpu, std::size_t n, T value, T* y) {
  parallel_ranges(n, 1 << 16, [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) y[i] = value;
  });
}

/// y[i] = x[i], converted
template <class T, class U>
void copy(Cpu, std::size_t n, const T* x, U* y) {
  parallel_ranges(n, 1 << 16, [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) y[i] = static_cast<U>(x[i]);
  });
}

/// Bytes between the host and the device, which is the host.
inline void copy_from_host(Cpu, std::size_t bytes, const void* from, void* to) { std::memcpy(to, from, bytes); }
inline void copy_to_host(Cpu, std::size_t bytes, const void* from, void* to) { std::memcpy(to, from, bytes); }

/// y[i] += x[i]
template <class T>
void add_to(Cpu, std::size_t n, const T* x, T* y) {
  parallel_ranges(n, 1 << 15, [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      y[i] = static_cast<T>(Accumulator<T>(y[i]) + Accumulator<T>(x[i]));
    }
  });
}

}  // namespace calm::kernel
