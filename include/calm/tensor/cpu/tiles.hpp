/// \file  Products with panels, compiled for several instruction sets; the processor's own is chosen in use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/lanes.hpp"
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

/// c[r, j] = a[r] · b[j] for a few rows of a and `columns` of b; row j of `next`, which may be anywhere, is fetched
/// with row j of b.   a: [rows, width]
template <class Word, class Sum>
using RowProducts = void (*)(std::size_t rows, std::size_t columns, std::size_t width, const NumberOf<Word>* a,
                             const NumberOf<Word>* b, std::size_t b_row, const NumberOf<Word>* next, Sum* c,
                             std::size_t c_row);

}  // namespace calm::kernel

#define CALM_KERNELS "calm/tensor/cpu/tile.hpp"
#include "calm/tensor/cpu/each_set.hpp"

namespace calm::kernel {

/// The sum that products of a word are added up in.
template <class Word>
using SumOf = std::conditional_t<std::is_same_v<Word, Pair>, float, Word>;

/// `pick(set, rule)` for the instruction set, and the rule by which it multiplies words, that are this processor's
/// fastest.
template <class Word, class Pick>
auto of_fastest(const Pick& pick) {
  return with_instructions<native::Products, avx2::Products, avx512::Products>([&](auto set) {
    using Set = decltype(set);
    if constexpr (std::is_same_v<Word, Pair>) {
      return instructions() == Instructions::bf16 ? pick(set, typename Set::Dots{})
                                                  : pick(set, typename Set::Widened{});
    } else {
      return pick(set, typename Set::template Numbers<Word>{});
    }
  });
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
