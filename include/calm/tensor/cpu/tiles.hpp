/// \file  Products with panels, compiled for several instruction sets; the processor's own is chosen in use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "calm/tensor/cpu/lanes.hpp"  // vector_bytes
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// Two neighbours of a row in bf16: what one instruction multiplies and adds up.
struct Pair {
  bf16 first, second;
};

/// Columns of a panel. A panel holds so many columns of a matrix, a row of them behind the other.
inline constexpr std::size_t panel_width = 32;
/// Terms, in words, that a product adds up at a time: as many rows of the left side as a tile has stay in the nearest
/// cache, and a panel in the next one.
template <class Word>
inline constexpr std::size_t block_depth = 2560 / sizeof(Word);
/// From one row of a packed left side to the next; an odd number of cache lines, so that rows lie in different sets.
template <class Word>
inline constexpr std::size_t left_stride = (2560 + 64) / sizeof(Word);

/// Memory that is read next: `pieces` of so many bytes, `stride` bytes from one to the next.
struct NextRead {
  const void* at = nullptr;
  std::size_t bytes = 0, stride = 0, pieces = 0;
};

/// c = a · b (+ c if `add`) for blocks in the nearest cache. rows: a multiple of 8; cols: of whole cache lines
template <class Word, class Sum>
using BlockProduct = void (*)(std::size_t rows, std::size_t cols, std::size_t depth, detail::Strided<Word> a,
                              const Word* b, std::size_t b_row, Sum* c, std::size_t c_row, bool add);

/// Panels, `stride` words from one to the next, `row` from row to row of each: panel_width where they were packed.
template <class Word>
struct PanelList {
  const Word* data;
  std::size_t stride, row = panel_width;
};

/// c = a · b (+ c if `add`); `next` is fetched meanwhile.
template <class Word, class Sum>
using PanelProduct = void (*)(std::size_t rows, std::size_t cols, std::size_t depth, const Word* a,
                              const PanelList<Word>& b, Sum* c, std::size_t c_row, bool add, const NextRead& next);

/// What rows of words are stored as.
template <class Word>
using NumberOf = std::conditional_t<std::is_same_v<Word, Pair>, bf16, Word>;

/// c[r, j] = a[r] · b[j] for a few rows of a and `columns` of b.   a: [rows, width]
template <class Word, class Sum>
using RowProducts = void (*)(std::size_t rows, std::size_t columns, std::size_t width, const NumberOf<Word>* a,
                             const NumberOf<Word>* b, std::size_t b_row, Sum* c, std::size_t c_row);

}  // namespace calm::kernel

// The instruction set that the program is compiled for, and those beyond it that processors may have.
#define CALM_TILES native
#if defined(__AVX512F__)
#define CALM_TILE_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define CALM_TILE_BYTES 32
#else
#define CALM_TILE_BYTES 16
#endif
#include "calm/tensor/cpu/tile.hpp"
#undef CALM_TILES
#undef CALM_TILE_BYTES

#if defined(__x86_64__) && !defined(__AVX512F__)
#define CALM_TILES avx512
#define CALM_TILE_BYTES 64
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#endif
#include "calm/tensor/cpu/tile.hpp"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef CALM_TILES
#undef CALM_TILE_BYTES
#if !defined(__AVX2__) || !defined(__FMA__)
#define CALM_TILES avx2
#define CALM_TILE_BYTES 32
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "calm/tensor/cpu/tile.hpp"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef CALM_TILES
#undef CALM_TILE_BYTES
#endif
#endif

namespace calm::kernel {

/// The sum that products of a word are added up in.
template <class Word>
using SumOf = std::conditional_t<std::is_same_v<Word, Pair>, float, Word>;

#if defined(__x86_64__) && !defined(__AVX512F__)
inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

/// `pick(set, rule)` for the instruction set, and the rule by which it multiplies words, that are this processor's
/// fastest.
template <class Word, class Pick>
auto of_fastest(const Pick& pick) {
  constexpr bool pairs = std::is_same_v<Word, Pair>;
#if defined(__AVX512F__)
  if constexpr (pairs) {
    if (__builtin_cpu_supports("avx512bf16")) return pick(native::Set{}, native::DotPairs{});
  }
#elif defined(__x86_64__)
  if constexpr (pairs) {
    if (__builtin_cpu_supports("avx512bf16")) return pick(avx512::Set{}, avx512::DotPairs{});
  }
  if (has_avx512())
    return pick(avx512::Set{}, std::conditional_t<pairs, avx512::WidenedPairs, avx512::Plain<SumOf<Word>>>{});
#if !defined(__AVX2__) || !defined(__FMA__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return pick(avx2::Set{}, std::conditional_t<pairs, avx2::WidenedPairs, avx2::Plain<SumOf<Word>>>{});
#endif
#elif defined(__aarch64__) && defined(__linux__)
  if constexpr (pairs) {
    if (getauxval(AT_HWCAP2) & HWCAP2_BF16) return pick(native::Set{}, native::DotPairs{});
  }
#endif
  return pick(native::Set{}, std::conditional_t<pairs, native::WidenedPairs, native::Plain<SumOf<Word>>>{});
}

template <class Word>
PanelProduct<Word, SumOf<Word>> fastest_product() {
  return of_fastest<Word>([](auto set, auto rule) -> PanelProduct<Word, SumOf<Word>> { return set.panels(rule); });
}
template <class Word>
BlockProduct<Word, SumOf<Word>> fastest_block_product() {
  return of_fastest<Word>([](auto set, auto rule) -> BlockProduct<Word, SumOf<Word>> { return set.blocks(rule); });
}
template <class Word>
RowProducts<Word, SumOf<Word>> fastest_row_products() {
  return of_fastest<Word>([](auto set, auto rule) -> RowProducts<Word, SumOf<Word>> { return set.dots(rule); });
}

}  // namespace calm::kernel
