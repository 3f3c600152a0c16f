/// \file  The GPU's kernels for memory, elementwise arithmetic and dropout.
#pragma once

#include <type_traits>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"

namespace calm::cuda {

template <class T>
struct Fill {
  T value;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const { y[i] = value; }
};

/// The 16-bit types are reached through float.
template <class T, class U>
struct Convert {
  const T* x;
  U* y;
  using Via = std::conditional_t<sizeof(T) == 2 || sizeof(U) == 2, float, T>;
  CALM_KERNEL void operator()(std::size_t i) const { y[i] = static_cast<U>(static_cast<Via>(x[i])); }
};

/// z = x + factor · y; y repeats after `cols`.
template <class T>
struct AddScaled {
  const T *x, *y;
  Accumulator<T> factor;
  std::size_t cols;
  T* z;
  CALM_KERNEL void operator()(std::size_t i) const { z[i] = narrow<T>(wide(x[i]) + factor * wide(y[i % cols])); }
};

/// z = x · y, or z += x · y
template <class T, bool Add>
struct Multiply {
  const T *x, *y;
  std::size_t cols;
  T* z;
  CALM_KERNEL void operator()(std::size_t i) const {
    const auto product = wide(x[i]) * wide(y[i % cols]);
    z[i] = narrow<T>(Add ? wide(z[i]) + product : product);
  }
};

/// y = factor · x, or y += factor · x; the factor a number, or one in device memory
template <class T, bool Add>
struct Scale {
  const T* x;
  Accumulator<T> factor;
  const T* stored_factor;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const {
    const auto product = (stored_factor ? wide(*stored_factor) : factor) * wide(x[i]);
    y[i] = narrow<T>(Add ? wide(y[i]) + product : product);
  }
};

template <class T, bool Add>
struct MultiplyRows {
  const T *x, *factor;
  std::size_t factors, width;
  T* z;
  CALM_KERNEL void operator()(std::size_t i) const {
    const auto product = wide(x[i]) * wide(factor[i / width % factors]);
    z[i] = narrow<T>(Add ? wide(z[i]) + product : product);
  }
};

/// Four elements share a block of random numbers, so index i stands for elements 4i to 4i + 3.
template <class T, bool Backward>
struct Dropout {
  std::size_t n;
  float p;
  Accumulator<T> scale;
  RandomKey key;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(std::size_t block) const {
    for (std::size_t i = 4 * block; i < 4 * block + 4 && i < n; ++i) {
      const bool kept = random_uniform(key, i) >= p;
      if (!Backward) y[i] = narrow<T>(kept ? scale * wide(x[i]) : Accumulator<T>(0));
      else if (kept) y[i] = narrow<T>(wide(y[i]) + scale * wide(x[i]));
    }
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void fill(Cuda, std::size_t n, T value, T* y) {
  cuda::each("fill", n, cuda::Fill<T>{value, y});
}
template <class T, class U>
void copy(Cuda, std::size_t n, const T* x, U* y) {
  cuda::each("copy", n, cuda::Convert<T, U>{x, y});
}
template <class T, class U>
void cast(Cuda, std::size_t n, const T* x, U* y) {
  cuda::each("cast", n, cuda::Convert<T, U>{x, y});
}
template <class T>
void add_to(Cuda, std::size_t n, const T* x, T* y) {
  cuda::each("add_to", n, cuda::Scale<T, true>{x, 1, nullptr, y});
}
template <class T>
void add_scaled(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, Accumulator<T> factor, T* z) {
  cuda::each("add_scaled", n, cuda::AddScaled<T>{x, y, factor, cols ? cols : n, z});
}
template <class T>
void multiply(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, T* z) {
  cuda::each("multiply", n, cuda::Multiply<T, false>{x, y, cols ? cols : n, z});
}
template <class T>
void multiply_add(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, T* z) {
  cuda::each("multiply_add", n, cuda::Multiply<T, true>{x, y, cols ? cols : n, z});
}
template <class T>
void axpy(Cuda, std::size_t n, Accumulator<T> factor, const T* x, T* y) {
  cuda::each("axpy", n, cuda::Scale<T, true>{x, factor, nullptr, y});
}
template <class T>
void axpy_by(Cuda, std::size_t n, const T* factor, const T* x, T* y) {
  cuda::each("axpy_by", n, cuda::Scale<T, true>{x, 0, factor, y});
}
template <class T>
void scale(Cuda, std::size_t n, Accumulator<T> factor, const T* x, T* y) {
  cuda::each("scale", n, cuda::Scale<T, false>{x, factor, nullptr, y});
}
template <class T>
void multiply_rows(Cuda, RowFactors e, const T* x, const T* factor, T* z) {
  cuda::each("multiply_rows", e.rows * e.width, cuda::MultiplyRows<T, false>{x, factor, e.factors, e.width, z});
}
template <class T>
void multiply_rows_add(Cuda, RowFactors e, const T* x, const T* factor, T* z) {
  cuda::each("multiply_rows_add", e.rows * e.width, cuda::MultiplyRows<T, true>{x, factor, e.factors, e.width, z});
}
template <class T>
void dropout(Cuda, std::size_t n, float p, RandomKey key, const T* x, T* y) {
  using A = Accumulator<T>;
  cuda::each("dropout", (n + 3) / 4, cuda::Dropout<T, false>{n, p, 1 / (1 - A(p)), key, x, y});
}
template <class T>
void dropout_backward(Cuda, std::size_t n, float p, RandomKey key, const T* dy, T* dx) {
  using A = Accumulator<T>;
  cuda::each("dropout_backward", (n + 3) / 4, cuda::Dropout<T, true>{n, p, 1 / (1 - A(p)), key, dy, dx});
}

#define CALM_CONVERSIONS(T, U)                                           \
  template void copy<T, U>(Cuda, std::size_t, const T*, U*);             \
  template void cast<T, U>(Cuda, std::size_t, const T*, U*);
#define CALM_ELEMENTWISE(T)                                                                                          \
  template void fill<T>(Cuda, std::size_t, T, T*);                                                                   \
  template void add_to<T>(Cuda, std::size_t, const T*, T*);                                                          \
  template void add_scaled<T>(Cuda, std::size_t, std::size_t, const T*, const T*, Accumulator<T>, T*);               \
  template void multiply<T>(Cuda, std::size_t, std::size_t, const T*, const T*, T*);                                 \
  template void multiply_add<T>(Cuda, std::size_t, std::size_t, const T*, const T*, T*);                             \
  template void axpy<T>(Cuda, std::size_t, Accumulator<T>, const T*, T*);                                            \
  template void axpy_by<T>(Cuda, std::size_t, const T*, const T*, T*);                                               \
  template void scale<T>(Cuda, std::size_t, Accumulator<T>, const T*, T*);                                           \
  template void multiply_rows<T>(Cuda, RowFactors, const T*, const T*, T*);                                          \
  template void multiply_rows_add<T>(Cuda, RowFactors, const T*, const T*, T*);                                      \
  template void dropout<T>(Cuda, std::size_t, float, RandomKey, const T*, T*);                                       \
  template void dropout_backward<T>(Cuda, std::size_t, float, RandomKey, const T*, T*);                              \
  CALM_CONVERSIONS(T, float) CALM_CONVERSIONS(T, double) CALM_CONVERSIONS(T, bf16)
CALM_FOR_COMPUTE_TYPES(CALM_ELEMENTWISE)
#undef CALM_ELEMENTWISE
#undef CALM_CONVERSIONS
template void fill<Index>(Cuda, std::size_t, Index, Index*);
template void copy<Index, Index>(Cuda, std::size_t, const Index*, Index*);

}  // namespace calm::kernel
