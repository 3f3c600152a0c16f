/// \file  What one query of a few heads reads of values where they stand, in registers. `attention_one.hpp` has this
/// included once for each instruction set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/attention_one.hpp"
#else

namespace calm::kernel::CALM_SET {

/// y[r] += Σ_j s[r, j] · v[j], `Vectors` registers of columns. The values `next` are fetched.
template <std::size_t Rows, std::size_t Vectors, class A, class C>
[[gnu::always_inline]] inline void add_columns(std::size_t keys, const A* s, const C* v, std::size_t stride,
                                               const C* next, A* y, std::size_t y_row) {
  using R = Register<A>;
  RegisterOf<A> sum[Rows][Vectors];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Vectors; ++i) sum[r][i] = R::load(y + r * y_row + i * R::count);
  }
  for (std::size_t j = 0; j < keys; ++j) {
    for (std::size_t i = 0; i < Vectors * R::count; i += 64 / sizeof(C)) __builtin_prefetch(next + j * stride + i);
    RegisterOf<A> value[Vectors];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Vectors; ++i) value[i] = load_as<A>(v + j * stride + i * R::count);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < Rows; ++r) {
      const A weight = s[r * detail::key_block + j];
#pragma GCC unroll 4
      for (std::size_t i = 0; i < Vectors; ++i) sum[r][i] += weight * value[i];
    }
  }
#pragma GCC unroll 4
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Vectors; ++i) R::store(sum[r][i], y + r * y_row + i * R::count);
  }
}

struct OneQuery {
  /// y[r] += Σ_j s[r, j] · v[j]; the rows of `next`, which may be anywhere, are fetched.
  template <std::size_t Rows, class A, class C>
  static void add_values(std::size_t keys, std::size_t width, const A* s, const C* v, std::size_t stride, const C* next,
                         A* y, std::size_t y_row) {
    constexpr std::size_t lanes = Register<A>::count, vectors = registers == 32 ? 4 : 2, wide = vectors * lanes;
    std::size_t c = 0;
    for (; c + wide <= width; c += wide) add_columns<Rows, vectors>(keys, s, v + c, stride, next + c, y + c, y_row);
    for (; c + lanes <= width; c += lanes) add_columns<Rows, 1>(keys, s, v + c, stride, next + c, y + c, y_row);
    for (; c < width; ++c) {
      for (std::size_t r = 0; r < Rows; ++r) {
        for (std::size_t j = 0; j < keys; ++j)
          y[r * y_row + c] += s[r * detail::key_block + j] * static_cast<A>(v[j * stride + c]);
      }
    }
  }
};

}  // namespace calm::kernel::CALM_SET

#endif
