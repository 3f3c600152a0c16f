/// \file  Element types: float, double, and the two 16-bit storage types.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "calm/tensor/device.hpp"

namespace calm {

/// bfloat16: the upper half of an IEEE binary32, rounded to nearest, ties to even.
struct bf16 {
  std::uint16_t bits = 0;

  constexpr bf16() = default;
  constexpr explicit bf16(float x) : bits(round(std::bit_cast<std::uint32_t>(x))) {}
  constexpr operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

 private:
  static constexpr std::uint16_t round(std::uint32_t u) {
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);  // NaN stays quiet
    return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
};

/// IEEE binary16, for storage and for products.
struct f16 {
  std::uint16_t bits = 0;

  constexpr f16() = default;
  constexpr explicit f16(float x) : bits(narrow(std::bit_cast<std::uint32_t>(x))) {}
  constexpr operator float() const { return widen(bits); }

 private:
  static constexpr std::uint16_t narrow(std::uint32_t u) {
    const std::uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to infinity
    if (magnitude < 0x38800000u) {                                                    // subnormal or zero
      const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
      auto whole = static_cast<std::uint32_t>(scaled);
      const float rest = scaled - static_cast<float>(whole);
      if (rest > 0.5f || (rest == 0.5f && (whole & 1u))) ++whole;
      return static_cast<std::uint16_t>(sign | whole);
    }
    const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
  }
  static constexpr float widen(std::uint16_t h) {
    const std::uint32_t sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu, fraction = h & 0x3ffu;
    if (exponent == 0) {
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
      return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
    }
    const std::uint32_t biased = exponent == 31 ? 0xffu : exponent + 112u;
    return std::bit_cast<float>(sign | (biased << 23) | (fraction << 13));
  }
};

/// Token ids, positions and key bounds.
using Index = std::int32_t;

/// Where tensors of `T` are kept: layouts and tokens, which the host makes, where it can write them.
template <class T>
inline constexpr Place place_for = std::is_same_v<T, Index> ? Place::shared : Place::device;

/// Whether the host reads elements of a Tensor<T, Device> where they are; if not, through `on_host`.
template <class T, class Device>
inline constexpr bool host_reads = std::is_same_v<Device, Cpu> || place_for<T> == Place::shared;

namespace detail {

template <class T>
struct AccumulatorOf {
  using type = float;
};
template <>
struct AccumulatorOf<double> {
  using type = double;
};

}  // namespace detail

/// What sums over elements of `T` are kept in: fp32 or wider. (A member of a class: compilers give a condition in a
/// function's type different names, and the GPU's kernels may come from another compiler than the program.)
template <class T>
using Accumulator = typename detail::AccumulatorOf<T>::type;

/// The name of element type `T` in safetensors files.
template <class T>
inline constexpr const char* dtype_name = "unknown";
template <>
inline constexpr const char* dtype_name<float> = "F32";
template <>
inline constexpr const char* dtype_name<double> = "F64";
template <>
inline constexpr const char* dtype_name<bf16> = "BF16";
template <>
inline constexpr const char* dtype_name<f16> = "F16";
template <>
inline constexpr const char* dtype_name<Index> = "I32";

}  // namespace calm
