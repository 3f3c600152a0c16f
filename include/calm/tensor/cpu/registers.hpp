/// \file  Registers of numbers and what is computed in all of their lanes at once. `lanes.hpp` has this included once
/// for each instruction set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/lanes.hpp"
#else

namespace calm::kernel::CALM_SET {

inline constexpr std::size_t register_bytes = CALM_SET_BYTES;
#if defined(__aarch64__)
inline constexpr std::size_t registers = 32;
#else
inline constexpr std::size_t registers = register_bytes == 64 ? 32 : 16;
#endif

/// As many numbers as a register holds. GCC and clang compute with them as with one.
template <class A>
struct Register {
  typedef A type __attribute__((vector_size(register_bytes)));
  static constexpr std::size_t count = register_bytes / sizeof(A);

  [[gnu::always_inline]] static inline type load(const A* from) {
    type v;
    std::memcpy(&v, from, sizeof(v));
    return v;
  }
  [[gnu::always_inline]] static inline void store(const type& v, A* to) { std::memcpy(to, &v, sizeof(v)); }
};
template <class A>
using RegisterOf = typename Register<A>::type;
typedef std::uint32_t Bits __attribute__((vector_size(register_bytes)));
typedef std::uint16_t HalfBits __attribute__((vector_size(register_bytes / 2)));

/// The bits of floats rounded to bf16, nearest even, in the upper half of each.
[[gnu::always_inline]] inline Bits rounded_bits(const Bits& u) {
  const Bits is_nan = (Bits)((u & 0x7fffffffu) > 0x7f800000u);
  return (is_nan & (u | 0x400000u)) | (~is_nan & (u + 0x7fffu + ((u >> 16) & 1u)));
}

/// A register of numbers of type A from memory of type T.
template <class A, class T>
[[gnu::always_inline]] inline RegisterOf<A> load_as(const T* from) {
  if constexpr (std::is_same_v<T, bf16>) {
    HalfBits half;
    std::memcpy(&half, from, sizeof(half));
    return (RegisterOf<A>)(__builtin_convertvector(half, Bits) << 16);
  } else if constexpr (std::is_same_v<T, A>) {
    return Register<A>::load(from);
  } else {
    RegisterOf<A> v;
    for (std::size_t i = 0; i < Register<A>::count; ++i) v[i] = A(from[i]);
    return v;
  }
}
/// A register of numbers of type A to memory of type T; to bf16 they are rounded.
template <class A, class T>
[[gnu::always_inline]] inline void store_as(const RegisterOf<A>& v, T* to) {
  if constexpr (std::is_same_v<T, bf16>) {
    const HalfBits half = __builtin_convertvector(rounded_bits((Bits)v) >> 16, HalfBits);
    std::memcpy(static_cast<void*>(to), &half, sizeof(half));
  } else if constexpr (std::is_same_v<T, A>) {
    Register<A>::store(v, to);
  } else {
    for (std::size_t i = 0; i < Register<A>::count; ++i) to[i] = T(v[i]);
  }
}

/// v with lanes exchanged that stand S from each other.
template <std::size_t S, class V, std::size_t... I>
[[gnu::always_inline]] inline V exchanged(const V& v, std::index_sequence<I...>) {
  return __builtin_shufflevector(v, v, static_cast<int>(I ^ S)...);
}
/// Σ of the lanes of v, by exchanging halves of halves.
template <class A, std::size_t S = Register<A>::count / 2>
[[gnu::always_inline]] inline A sum_across(const RegisterOf<A>& v) {
  const RegisterOf<A> both = v + exchanged<S>(v, std::make_index_sequence<Register<A>::count>{});
  if constexpr (S > 1)
    return sum_across<A, S / 2>(both);
  else
    return both[0];
}
/// The largest lane of v.
template <class A, std::size_t S = Register<A>::count / 2>
[[gnu::always_inline]] inline A most_across(const RegisterOf<A>& v) {
  const RegisterOf<A> other = exchanged<S>(v, std::make_index_sequence<Register<A>::count>{});
  const RegisterOf<A> both = other > v ? other : v;
  if constexpr (S > 1)
    return most_across<A, S / 2>(both);
  else
    return both[0];
}

/// e^x of every lane for x <= 88, by the polynomial of `fast_exp`; exactly 0 below -87. The number that the exponent is
/// rounded to stands in the last bits of its sum with 1.5 · 2^23.
template <class A>
[[gnu::always_inline]] inline RegisterOf<A> exp_of(const RegisterOf<A>& x) {
  using V = RegisterOf<A>;
  if constexpr (std::is_same_v<A, float>) {
    typedef std::int32_t Whole __attribute__((vector_size(sizeof(V))));
    const V rounded = x * 1.44269504f + 12582912.0f, n = rounded - 12582912.0f;
    const V r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    V p = r * (1.0f / 720) + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return x < V{} - 87.0f ? V{} : (V)((Whole)p + ((Whole)rounded << 23));
  } else {
    V y;
    for (std::size_t i = 0; i < Register<A>::count; ++i) y[i] = std::exp(x[i]);
    return y;
  }
}

/// 1 / (1 + e^-x)
template <class A>
[[gnu::always_inline]] inline RegisterOf<A> sigmoid_of(const RegisterOf<A>& x) {
  constexpr A least = std::is_same_v<A, float> ? A(-88) : A(-700);
  const RegisterOf<A> bounded = x < RegisterOf<A>{} + least ? RegisterOf<A>{} + least : x;
  return A(1) / (A(1) + exp_of<A>(-bounded));
}

}  // namespace calm::kernel::CALM_SET

#endif
