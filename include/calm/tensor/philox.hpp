/// \file  Philox4x32-10: random numbers as a function of (seed, stream, index).
///
/// Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". The same bits on every device and with any number
/// of threads, so what is random can be computed again instead of stored.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace calm {

/// What makes one sequence of random numbers different from another.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  /// The key of a sub-sequence.
  constexpr RandomKey at(std::uint64_t i) const { return {seed, (stream + 1) * 0x9E3779B97F4A7C15ull ^ i}; }
};

/// A counter, and the 128 random bits that it becomes.
using PhiloxBlock = std::array<std::uint32_t, 4>;

namespace detail {

/// Turns counters into random bits, `Lanes` of them side by side.
template <std::size_t Lanes>
constexpr void philox_rounds(std::uint32_t (&x)[4][Lanes], std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    for (std::size_t l = 0; l < Lanes; ++l) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53} * x[0][l], p1 = std::uint64_t{0xCD9E8D57} * x[2][l];
      x[0][l] = static_cast<std::uint32_t>(p1 >> 32) ^ x[1][l] ^ key[0];
      x[1][l] = static_cast<std::uint32_t>(p1);
      x[2][l] = static_cast<std::uint32_t>(p0 >> 32) ^ x[3][l] ^ key[1];
      x[3][l] = static_cast<std::uint32_t>(p0);
    }
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
}

}  // namespace detail

/// Philox4x32-10: ten rounds under `key` (Salmon et al. 2011).
constexpr PhiloxBlock philox(PhiloxBlock counter, std::array<std::uint32_t, 2> key) {
  std::uint32_t x[4][1] = {{counter[0]}, {counter[1]}, {counter[2]}, {counter[3]}};
  detail::philox_rounds(x, key);
  return {x[0][0], x[1][0], x[2][0], x[3][0]};
}

// The known answers published with Random123.
static_assert(philox({0, 0, 0, 0}, {0, 0}) == PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});

namespace detail {

constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

/// Numbers 4 · block to 4 · block + 3 of the sequence of `key`.
constexpr PhiloxBlock random_block(RandomKey key, std::uint64_t block) {
  return philox({low(block), high(block), low(key.stream), high(key.stream)}, {low(key.seed), high(key.seed)});
}

constexpr float uniform_of(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

inline float normal_of(std::uint32_t first, std::uint32_t second) {
  return std::sqrt(-2.0f * std::log(1.0f - uniform_of(first))) * std::cos(6.28318531f * uniform_of(second));
}

}  // namespace detail

/// 32 random bits, number `index` of the sequence of `key`.
constexpr std::uint32_t random_bits(RandomKey key, std::uint64_t index) {
  return detail::random_block(key, index / 4)[index % 4];
}

/// Uniform in [0, 1) on a grid of 2^-24.
constexpr float random_uniform(RandomKey key, std::uint64_t index) {
  return detail::uniform_of(random_bits(key, index));
}

/// Uniform in {0, …, n-1}; the bias is below n / 2^32.
constexpr std::uint32_t random_below(RandomKey key, std::uint64_t index, std::uint32_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{random_bits(key, index)} * n) >> 32);
}

/// Standard normal by Box and Muller; uses numbers 2·index and 2·index + 1 of the sequence.
inline float random_normal(RandomKey key, std::uint64_t index) {
  const PhiloxBlock block = detail::random_block(key, index / 2);
  return detail::normal_of(block[index % 2 * 2], block[index % 2 * 2 + 1]);
}

/// to[i] = random_normal(key, first + i) for i < n, several blocks at once.
inline void random_normals(RandomKey key, std::uint64_t first, std::size_t n, float* to) {
  constexpr std::size_t lanes = 16;
  std::uint32_t x[4][lanes];  // a block in each column
  for (std::uint64_t i = first, end = first + n; i < end;) {
    const std::uint64_t block = i / 2, stop = std::min(end, 2 * (block + lanes));
    for (std::size_t l = 0; l < lanes; ++l) {
      x[0][l] = detail::low(block + l), x[1][l] = detail::high(block + l);
      x[2][l] = detail::low(key.stream), x[3][l] = detail::high(key.stream);
    }
    detail::philox_rounds(x, {detail::low(key.seed), detail::high(key.seed)});
    for (; i < stop; ++i) {
      const std::size_t l = static_cast<std::size_t>(i / 2 - block), half = i % 2 * 2;
      to[i - first] = detail::normal_of(x[half][l], x[half + 1][l]);
    }
  }
}

}  // namespace calm
