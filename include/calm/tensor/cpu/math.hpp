/// \file  exp and square roots that run on whole registers.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace calm::kernel {

/// e^x in float: 2^n · p(r) with |r| <= ln2/2 and a degree-6 polynomial; relative error below 2.5e-7 (tests/tensor/cpu
/// sweeps every exponent). Flushes to 0 below -87 and saturates near 3e38 above 88.
/// Inlined even where GCC finds the loop too long: a call in it would keep it from vectorising.
[[gnu::always_inline]] inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float n = std::nearbyint(x * 1.44269504f);
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;  // ln 2 in two parts: the first product is exact
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;  // in [0.7, 1.42], so its exponent has room for n
  // What is no number is no integer either.
  const auto exponent = static_cast<std::int32_t>(n == n ? n : 0.0f);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (static_cast<std::uint32_t>(exponent) << 23));
}
[[gnu::always_inline]] inline double fast_exp(double x) { return std::exp(x); }

/// 1 / (1 + e^-x)
template <class A>
[[gnu::always_inline]] inline A sigmoid(A x) {
  return A(1) / (A(1) + fast_exp(-x));
}

/// y[i] = √x[i] as std::sqrt rounds it, for x[i] >= 0. std::sqrt may set errno, which keeps it out of vectors.
template <class A>
void square_roots(std::size_t n, const A* x, A* y) {
  std::size_t i = 0;
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<A, float>) {
    for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_sqrt_ps(_mm512_loadu_ps(x + i)));
  }
#elif defined(__AVX__)
  if constexpr (std::is_same_v<A, float>) {
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_sqrt_ps(_mm256_loadu_ps(x + i)));
  }
#elif defined(__SSE2__)
  if constexpr (std::is_same_v<A, float>) {
    for (; i + 4 <= n; i += 4) _mm_storeu_ps(y + i, _mm_sqrt_ps(_mm_loadu_ps(x + i)));
  }
#endif
  for (; i < n; ++i) y[i] = std::sqrt(x[i]);
}

}  // namespace calm::kernel
