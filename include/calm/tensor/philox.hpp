/// \file  Philox4x32-10: random numbers as a function of (seed, stream, index).
///
/// Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". The same bits on every device and with any number
/// of threads, so what is random can be computed again instead of stored.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace calm {

/// What makes one sequence of random numbers different from another.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  /// The key of a sub-sequence.
  constexpr RandomKey at(std::uint64_t i) const { return {seed, (stream + 1) * 0x9E3779B97F4A7C15ull ^ i}; }
};

using PhiloxBlock = std::array<std::uint32_t, 4>;

constexpr PhiloxBlock philox(PhiloxBlock counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0], p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

// The known answers published with Random123.
static_assert(philox({0, 0, 0, 0}, {0, 0}) == PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});

/// 32 random bits, number `index` of the sequence of `key`.
constexpr std::uint32_t random_bits(RandomKey key, std::uint64_t index) {
  const std::uint64_t block = index / 4;
  return philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                 static_cast<std::uint32_t>(key.stream), static_cast<std::uint32_t>(key.stream >> 32)},
                {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)})[index % 4];
}

/// Uniform in [0, 1) on a grid of 2^-24.
constexpr float random_uniform(RandomKey key, std::uint64_t index) {
  return static_cast<float>(random_bits(key, index) >> 8) * 0x1p-24f;
}

/// Uniform in {0, …, n-1}; the bias is below n / 2^32.
constexpr std::uint32_t random_below(RandomKey key, std::uint64_t index, std::uint32_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{random_bits(key, index)} * n) >> 32);
}

/// Standard normal by Box and Muller; uses numbers 2·index and 2·index + 1 of the sequence.
inline float random_normal(RandomKey key, std::uint64_t index) {
  const float u = 1.0f - random_uniform(key, 2 * index), v = random_uniform(key, 2 * index + 1);
  return std::sqrt(-2.0f * std::log(u)) * std::cos(6.28318531f * v);
}

}  // namespace calm
