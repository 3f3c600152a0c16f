/// \file  Host kernels for a product with one factor per row.
#pragma once

#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/sum.hpp"

namespace calm::kernel {

/// z[r, c] = x[r, c] · factor[r mod factors]
template <class T>
void multiply_rows(Cpu, RowFactors e, const T* x, const T* factor, T* z) {
  using A = Accumulator<T>;
  parallel_ranges(e.rows, detail::rows_per_thread(e.width), [=](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const A by = A(factor[r % e.factors]);
      for (std::size_t i = r * e.width; i < (r + 1) * e.width; ++i) z[i] = static_cast<T>(A(x[i]) * by);
    }
  });
}

/// z[r, c] += x[r, c] · factor[r mod factors]
template <class T>
void multiply_rows_add(Cpu, RowFactors e, const T* x, const T* factor, T* z) {
  using A = Accumulator<T>;
  parallel_ranges(e.rows, detail::rows_per_thread(e.width), [=](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const A by = A(factor[r % e.factors]);
      for (std::size_t i = r * e.width; i < (r + 1) * e.width; ++i) z[i] = static_cast<T>(A(z[i]) + A(x[i]) * by);
    }
  });
}

/// sum[k] += Σ x[r, c] · y[r, c] over the rows r that take factor k, in order (so the same bits with any number of
/// threads)
template <class T>
void dot_rows(Cpu, RowFactors e, const T* x, const T* y, T* sum) {
  using A = Accumulator<T>;
  if (e.rows == 0) return;
  const std::size_t work = e.rows / e.factors * e.width;
  parallel_ranges(e.factors, detail::rows_per_thread(work), [=](std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k) {
      double total = 0;
      for (std::size_t r = k; r < e.rows; r += e.factors) {
        const T *xr = x + r * e.width, *yr = y + r * e.width;
        total += static_cast<double>(detail::sum_of<A>(e.width, [=](std::size_t c) { return A(xr[c]) * A(yr[c]); }));
      }
      sum[k] = static_cast<T>(A(sum[k]) + static_cast<A>(total));
    }
  });
}

}  // namespace calm::kernel
