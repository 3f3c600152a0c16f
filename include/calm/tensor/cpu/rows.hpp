/// \file  Rows of numbers, by the widest registers of the processor.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/lanes.hpp"

namespace calm::kernel::detail {

/// Where a row goes on; null where there is none.
template <class T>
T* behind(T* row, std::size_t i) {
  return row ? row + i : nullptr;
}

}  // namespace calm::kernel::detail

#define CALM_KERNELS "calm/tensor/cpu/row_kernels.hpp"
#include "calm/tensor/cpu/each_set.hpp"

namespace calm::kernel::detail {

/// f(rows), `rows` being a `Rows`.
template <class F>
decltype(auto) with_row_kernels(const F& f) {
  return with_instructions<native::Rows, avx2::Rows, avx512::Rows>(f);
}

}  // namespace calm::kernel::detail
