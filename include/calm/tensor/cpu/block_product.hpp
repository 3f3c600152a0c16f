/// \file  Products and transposes of blocks that lie in the cache, on whole registers: what attention is made of.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

namespace calm::kernel::detail {

#if defined(__AVX512F__)
inline constexpr std::size_t vector_bytes = 64, vectors_in_tile = 4;  // 16 sums in 32 registers
#elif defined(__AVX__)
inline constexpr std::size_t vector_bytes = 32, vectors_in_tile = 2;  // 8 in 16
#else
inline constexpr std::size_t vector_bytes = 16, vectors_in_tile = 2;
#endif
inline constexpr std::size_t rows_in_tile = 4;

/// As many numbers as a register holds. GCC and clang compute with them as with one.
template <class A>
struct Lanes {
  typedef A type __attribute__((vector_size(vector_bytes)));
  static constexpr std::size_t count = vector_bytes / sizeof(A);

  static type load(const A* from) {
    type v;
    std::memcpy(&v, from, sizeof(v));
    return v;
  }
  static void store(const type& v, A* to) { std::memcpy(to, &v, sizeof(v)); }
};

/// v with `op` over all of its lanes in each, by exchanging halves of halves.
template <std::size_t S, class V, class Op>
[[gnu::always_inline]] inline V across(const V& v, const Op& op) {
  const V both = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return op(v, __builtin_shufflevector(v, v, static_cast<int>(I ^ S)...));
  }(std::make_index_sequence<sizeof(V) / sizeof(v[0])>{});
  if constexpr (S > 1)
    return across<S / 2>(both, op);
  else
    return both;
}

/// A matrix whose element (i, k) stands at data[i * row + k * column].
template <class A>
struct Strided {
  const A* data;
  std::size_t row, column;
};

template <std::size_t Rows, std::size_t Vectors, class A>
[[gnu::always_inline]] inline void add_tile(std::size_t depth, const Strided<A>& a, const A* b, std::size_t b_row, A* c,
                                            std::size_t c_row) {
  using L = Lanes<A>;
  using V = typename L::type;
  [&]<std::size_t... R, std::size_t... J>(std::index_sequence<R...>, std::index_sequence<J...>) {
    V sum[Rows][Vectors];
    const auto load_row = [&](std::size_t r) { ((sum[r][J] = L::load(c + r * c_row + J * L::count)), ...); };
    (load_row(R), ...);
    for (std::size_t k = 0; k < depth; ++k) {
      const V right[] = {L::load(b + k * b_row + J * L::count)...};
      const A* left = a.data + k * a.column;
      const auto add_row = [&](std::size_t r) {
        const A x = left[r * a.row];
        ((sum[r][J] += x * right[J]), ...);
      };
      (add_row(R), ...);
    }
    const auto store_row = [&](std::size_t r) { (L::store(sum[r][J], c + r * c_row + J * L::count), ...); };
    (store_row(R), ...);
  }(std::make_index_sequence<Rows>{}, std::make_index_sequence<Vectors>{});
}

template <std::size_t Rows, class A>
void add_rows(std::size_t cols, std::size_t depth, const Strided<A>& a, const A* b, std::size_t b_row, A* c,
              std::size_t c_row) {
  constexpr std::size_t lanes = Lanes<A>::count, wide = vectors_in_tile * lanes;
  std::size_t j = 0;
  for (; j + wide <= cols; j += wide) add_tile<Rows, vectors_in_tile>(depth, a, b + j, b_row, c + j, c_row);
  for (; j + lanes <= cols; j += lanes) add_tile<Rows, 1>(depth, a, b + j, b_row, c + j, c_row);
  for (; j < cols; ++j) {
    for (std::size_t r = 0; r < Rows; ++r) {
      A sum = c[r * c_row + j];
      for (std::size_t k = 0; k < depth; ++k) sum += a.data[r * a.row + k * a.column] * b[k * b_row + j];
      c[r * c_row + j] = sum;
    }
  }
}

/// One step of a transposition: of each 2 × 2 block of blocks of `S` by `S` numbers, those off the diagonal change places.
template <std::size_t S, class V, std::size_t... I>
[[gnu::always_inline]] inline void exchange(V& a, V& b, std::index_sequence<I...>) {
  constexpr int n = sizeof...(I), s = static_cast<int>(S);
  const V low = __builtin_shufflevector(a, b, (int(I) & s ? n + int(I) - s : int(I))...);
  const V high = __builtin_shufflevector(a, b, (int(I) & s ? n + int(I) : int(I) + s)...);
  a = low, b = high;
}
template <std::size_t S, class V, std::size_t N>
[[gnu::always_inline]] inline void transpose_in_registers(V (&rows)[N]) {
  if constexpr (S > 0) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((I & S ? void() : exchange<S>(rows[I], rows[(I | S) < N ? I | S : I], std::make_index_sequence<N>{})), ...);
    }(std::make_index_sequence<N>{});
    transpose_in_registers<S / 2>(rows);
  }
}

/// y[c, r] = x[r, c], a square of as many numbers as a register holds by as many.
template <class A>
void transpose_square(const A* x, std::size_t x_row, A* y, std::size_t y_row) {
  constexpr std::size_t n = Lanes<A>::count;
  typename Lanes<A>::type rows[n];
  for (std::size_t r = 0; r < n; ++r) rows[r] = Lanes<A>::load(x + r * x_row);
  transpose_in_registers<n / 2>(rows);
  for (std::size_t r = 0; r < n; ++r) Lanes<A>::store(rows[r], y + r * y_row);
}

/// c[i, j] += Σ_k a[i, k] · b[k, j] for `rows` rows, `cols` columns and `depth` terms, added in the order of k; how the
/// block is cut changes no bit.
template <class A>
void add_product(std::size_t rows, std::size_t cols, std::size_t depth, Strided<A> a, const A* b, std::size_t b_row,
                 A* c, std::size_t c_row) {
  std::size_t i = 0;
  for (; i + rows_in_tile <= rows; i += rows_in_tile) {
    add_rows<rows_in_tile>(cols, depth, {a.data + i * a.row, a.row, a.column}, b, b_row, c + i * c_row, c_row);
  }
  for (; i < rows; ++i) {
    add_rows<1>(cols, depth, {a.data + i * a.row, a.row, a.column}, b, b_row, c + i * c_row, c_row);
  }
}

}  // namespace calm::kernel::detail
