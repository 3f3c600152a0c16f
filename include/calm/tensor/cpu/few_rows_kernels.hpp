/// \file  Products of a few rows with many, by dot products in registers. `few_rows.hpp` has this included once for
/// each instruction set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/few_rows.hpp"
#else

namespace calm::kernel::CALM_SET {

/// Keeps v in a register: GCC would read it from memory again in each product, and those reads are the bottleneck.
template <class V>
[[gnu::always_inline]] inline void hold([[maybe_unused]] V& v) {
#if defined(__aarch64__)
  asm("" : "+w"(v));
#elif CALM_SET_BYTES == 64
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#endif
}

/// y[r, o] = Σ_k x[r, k] · w[o, k], for `Rows` rows and `Outs` places.
template <std::size_t Rows, std::size_t Outs, class A, class W>
void few_rows_tile(std::size_t depth, const A* x, std::size_t x_row, const W* w, std::size_t w_row, A* y,
                   std::size_t y_row) {
  using R = Register<A>;
  RegisterOf<A> sum[Rows][Outs] = {};
  std::size_t k = 0;
  for (; k + R::count <= depth; k += R::count) {
    RegisterOf<A> right[Outs];
#pragma GCC unroll 4
    for (std::size_t o = 0; o < Outs; ++o) right[o] = load_as<A>(w + o * w_row + k);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < Rows; ++r) {
      RegisterOf<A> left = R::load(x + r * x_row + k);
      hold(left);
#pragma GCC unroll 4
      for (std::size_t o = 0; o < Outs; ++o) sum[r][o] += left * right[o];
    }
  }
#pragma GCC unroll 4
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (std::size_t o = 0; o < Outs; ++o) {
      A total = sum_across<A>(sum[r][o]);
      for (std::size_t i = k; i < depth; ++i) total += x[r * x_row + i] * static_cast<A>(w[o * w_row + i]);
      y[r * y_row + o] = total;
    }
  }
}

template <std::size_t Outs, class A, class W>
void few_rows_of(std::size_t rows, std::size_t depth, const A* x, std::size_t x_row, const W* w, std::size_t w_row,
                 A* y, std::size_t y_row) {
  std::size_t r = 0;
  for (; r + 4 <= rows; r += 4) few_rows_tile<4, Outs>(depth, x + r * x_row, x_row, w, w_row, y + r * y_row, y_row);
  for (; r < rows; ++r) few_rows_tile<1, Outs>(depth, x + r * x_row, x_row, w, w_row, y + r * y_row, y_row);
}

struct FewRows {
  /// `multiply_few_rows`
  template <class A, class W>
  static void multiply(std::size_t rows, std::size_t begin, std::size_t end, std::size_t depth, const A* x,
                       std::size_t x_row, const W* w, std::size_t w_row, A* y, std::size_t y_row) {
    std::size_t o = begin;
    for (; o + 4 <= end; o += 4) few_rows_of<4>(rows, depth, x, x_row, w + o * w_row, w_row, y + o, y_row);
    for (; o < end; ++o) few_rows_of<1>(rows, depth, x, x_row, w + o * w_row, w_row, y + o, y_row);
  }
};

}  // namespace calm::kernel::CALM_SET

#endif
