/// \file  Registers of numbers: how many they hold, and the moves among their lanes.
#pragma once

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

/// One step of a transposition: of each 2 × 2 block of blocks of `S` by `S` numbers, those off the diagonal change places.
template <std::size_t S, class V, std::size_t... I>
[[gnu::always_inline]] inline void exchange(V& a, V& b, std::index_sequence<I...>) {
  constexpr int n = sizeof...(I), s = static_cast<int>(S);
  const V low = __builtin_shufflevector(a, b, (int(I) & s ? n + int(I) - s : int(I))...);
  const V high = __builtin_shufflevector(a, b, (int(I) & s ? n + int(I) : int(I) + s)...);
  a = low, b = high;
}

}  // namespace calm::kernel::detail
