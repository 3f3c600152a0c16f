/// \file  Products of a few rows with a weight, as decoding makes them: the weight is read once, as it is stored.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/lanes.hpp"  // Lanes
#include "calm/tensor/dtype.hpp"

namespace calm::kernel::detail {

/// Up to how many rows this is faster than to pack the weight anew in each product; from bf16, the other way takes a
/// widened copy of it as well.
template <class W>
inline constexpr std::size_t few_rows = std::is_same_v<W, bf16> ? 32 : 4;

/// A register of numbers of type A, read from as many of type W.
template <class A, class W>
[[gnu::always_inline]] inline typename Lanes<A>::type load_lanes(const W* from) {
  if constexpr (std::is_same_v<W, bf16>) {
    typedef std::uint16_t Half __attribute__((vector_size(vector_bytes / 2)));
    typedef std::uint32_t Whole __attribute__((vector_size(vector_bytes)));
    Half half;
    std::memcpy(&half, from, sizeof(half));
    const Whole bits = __builtin_convertvector(half, Whole) << 16;
    typename Lanes<A>::type v;
    std::memcpy(&v, &bits, sizeof(v));
    return v;
  } else {
    return Lanes<A>::load(from);
  }
}

/// Keeps v in a register: GCC would read it from memory again in each product, and those reads are the bottleneck.
template <class V>
[[gnu::always_inline]] inline void hold([[maybe_unused]] V& v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
}

/// y[r, o] = Σ_k x[r, k] · w[o, k], for `Rows` rows and `Outs` places.
template <std::size_t Rows, std::size_t Outs, class A, class W>
void dot_tile(std::size_t depth, const A* x, std::size_t x_row, const W* w, std::size_t w_row, A* y,
              std::size_t y_row) {
  using L = Lanes<A>;
  using V = typename L::type;
  [&]<std::size_t... R, std::size_t... O>(std::index_sequence<R...>, std::index_sequence<O...>) {
    V sum[Rows][Outs] = {};
    std::size_t k = 0;
    for (; k + L::count <= depth; k += L::count) {
      const V right[] = {load_lanes<A>(w + O * w_row + k)...};
      const auto add_row = [&](std::size_t r) {
        V left = L::load(x + r * x_row + k);
        hold(left);
        ((sum[r][O] += left * right[O]), ...);
      };
      (add_row(R), ...);
    }
    const auto finish = [&](std::size_t r, std::size_t o) {
      A total = across<L::count / 2>(sum[r][o], [](const V& a, const V& b) -> V { return a + b; })[0];
      for (std::size_t i = k; i < depth; ++i) total += x[r * x_row + i] * static_cast<A>(w[o * w_row + i]);
      y[r * y_row + o] = total;
    };
    const auto finish_row = [&](std::size_t r) { (finish(r, O), ...); };
    (finish_row(R), ...);
  }
  (std::make_index_sequence<Rows>{}, std::make_index_sequence<Outs>{});
}

template <std::size_t Outs, class A, class W>
void dot_rows(std::size_t rows, std::size_t depth, const A* x, std::size_t x_row, const W* w, std::size_t w_row, A* y,
              std::size_t y_row) {
  std::size_t r = 0;
  for (; r + 4 <= rows; r += 4) dot_tile<4, Outs>(depth, x + r * x_row, x_row, w, w_row, y + r * y_row, y_row);
  for (; r < rows; ++r) dot_tile<1, Outs>(depth, x + r * x_row, x_row, w, w_row, y + r * y_row, y_row);
}

/// y = x · wᵀ for `rows` rows and the places [begin, end) of y.   x: [rows, depth], w: [.., depth], y: [rows, ..]; a row
/// of y has the same bits whatever rows stand beside it.
template <class A, class W>
void multiply_few_rows(std::size_t rows, std::size_t begin, std::size_t end, std::size_t depth, const A* x,
                       std::size_t x_row, const W* w, std::size_t w_row, A* y, std::size_t y_row) {
  std::size_t o = begin;
  for (; o + 4 <= end; o += 4) dot_rows<4>(rows, depth, x, x_row, w + o * w_row, w_row, y + o, y_row);
  for (; o < end; ++o) dot_rows<1>(rows, depth, x, x_row, w + o * w_row, w_row, y + o, y_row);
}

}  // namespace calm::kernel::detail
