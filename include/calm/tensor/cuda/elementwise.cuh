/// \file  The GPU's kernels for memory, elementwise arithmetic and dropout.
#pragma once

#include <type_traits>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/pack.cuh"

namespace calm::cuda {

template <class T>
struct Fill {
  T value;
  T* y;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    Pack<T, N> pack;
    for (std::size_t j = 0; j < N; ++j) pack.at[j] = value;
    store(y + i, pack);
  }
};

/// The 16-bit types are reached through float.
template <class T, class U>
struct Convert {
  const T* x;
  U* y;
  using Via = std::conditional_t<sizeof(T) == 2 || sizeof(U) == 2, float, T>;
  /// So many at a time that the wider type fills 16 bytes.
  static constexpr std::size_t width = pack_width<std::conditional_t<(sizeof(T) > sizeof(U)), T, U>>;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {
    const auto from = load<N>(x + i);
    Pack<U, N> to;
    for (std::size_t j = 0; j < N; ++j) {
      if constexpr (std::is_same_v<T, U>) to.at[j] = from.at[j];
      else to.at[j] = narrow<U>(static_cast<Accumulator<U>>(static_cast<Via>(from.at[j])));
    }
    store(y + i, to);
  }
};
template <class T, class U>
void convert(const char* kernel, std::size_t n, const T* x, U* y) {
  using F = Convert<T, U>;
  each_pack<F::width>(kernel, n, in_packs(x, y), F{x, y});
}

template <class A>
struct PlusScaled {
  A factor;
  CALM_KERNEL A operator()(A x, A y) const { return x + factor * y; }
};
struct Times {
  template <class A>
  CALM_KERNEL A operator()(A x, A y) const {
    return x * y;
  }
};
/// The factor is a number, or one in device memory.
template <class T>
struct Scaled {
  Accumulator<T> factor;
  const T* stored_factor = nullptr;
  CALM_KERNEL Accumulator<T> operator()(Accumulator<T> x) const {
    return (stored_factor ? wide(*stored_factor) : factor) * x;
  }
};

template <class T, bool Add>
struct MultiplyRows {
  const T *x, *factor;
  std::size_t factors, width;
  T* z;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t i) const {  // N elements of one row
    const auto by = wide(factor[i / width % factors]);
    auto product = wide(load<N>(x + i));
    for (auto& p : product.at) p *= by;
    store(z + i, product, Add);
  }
};
template <bool Add, class T>
void scale_rows(const char* kernel, const kernel::RowFactors& e, const T* x, const T* factor, T* z) {
  constexpr std::size_t width = pack_width<T>;
  each_pack<width>(kernel, e.rows * e.width, in_packs(x, z) && e.width % width == 0,
                   MultiplyRows<T, Add>{x, factor, e.factors, e.width, z});
}

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
  cuda::each_pack<cuda::pack_width<T>>("fill", n, cuda::in_packs(y), cuda::Fill<T>{value, y});
}
template <class T, class U>
void copy(Cuda, std::size_t n, const T* x, U* y) {
  cuda::convert("copy", n, x, y);
}
template <class T, class U>
void cast(Cuda, std::size_t n, const T* x, U* y) {
  cuda::convert("cast", n, x, y);
}
template <class T>
void add_to(Cuda, std::size_t n, const T* x, T* y) {
  cuda::map<true>("add_to", n, y, cuda::Scaled<T>{1}, {{x}});
}
template <class T>
void add_scaled(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, Accumulator<T> factor, T* z) {
  cuda::map<false>("add_scaled", n, z, cuda::PlusScaled<Accumulator<T>>{factor}, {{x}, {y, cols}});
}
template <class T>
void multiply(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, T* z) {
  cuda::map<false>("multiply", n, z, cuda::Times{}, {{x}, {y, cols}});
}
template <class T>
void multiply_add(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, T* z) {
  cuda::map<true>("multiply_add", n, z, cuda::Times{}, {{x}, {y, cols}});
}
template <class T>
void axpy(Cuda, std::size_t n, Accumulator<T> factor, const T* x, T* y) {
  cuda::map<true>("axpy", n, y, cuda::Scaled<T>{factor}, {{x}});
}
template <class T>
void axpy_by(Cuda, std::size_t n, const T* factor, const T* x, T* y) {
  cuda::map<true>("axpy_by", n, y, cuda::Scaled<T>{0, factor}, {{x}});
}
template <class T>
void scale(Cuda, std::size_t n, Accumulator<T> factor, const T* x, T* y) {
  cuda::map<false>("scale", n, y, cuda::Scaled<T>{factor}, {{x}});
}
template <class T>
void multiply_rows(Cuda, RowFactors e, const T* x, const T* factor, T* z) {
  cuda::scale_rows<false>("multiply_rows", e, x, factor, z);
}
template <class T>
void multiply_rows_add(Cuda, RowFactors e, const T* x, const T* factor, T* z) {
  cuda::scale_rows<true>("multiply_rows_add", e, x, factor, z);
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
  CALM_CONVERSIONS(T, float) CALM_CONVERSIONS(T, double) CALM_CONVERSIONS(T, bf16) CALM_CONVERSIONS(T, f16)
CALM_FOR_PRODUCT_TYPES(CALM_ELEMENTWISE)
#undef CALM_ELEMENTWISE
#undef CALM_CONVERSIONS
template void fill<Index>(Cuda, std::size_t, Index, Index*);
template void copy<Index, Index>(Cuda, std::size_t, const Index*, Index*);

}  // namespace calm::kernel
