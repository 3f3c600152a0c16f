/// \file  The GPU's kernels that sum along an axis. Long sums are cut into parts whose number depends on the extents
/// alone, and the parts added up in order: the same bits every time.
#pragma once

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"

namespace calm::cuda {

/// Rows that one thread adds up, so that there are parts enough for all processors and few enough to add.
inline std::size_t rows_in_part(std::size_t rows) { return std::max<std::size_t>(32, (rows + 127) / 128); }

/// parts[p, c] = Σ term(r, c) over the rows r of part p
template <class A, class Term>
struct PartialColumns {
  std::size_t rows, cols, rows_in_part;
  Term term;
  A* parts;
  CALM_KERNEL void operator()(std::size_t i) const {
    const std::size_t c = i % cols, first = i / cols * rows_in_part;
    A total = 0;
    for (std::size_t r = first; r < first + rows_in_part && r < rows; ++r) total += term(r, c);
    parts[i] = total;
  }
};

/// sum[c] += Σ_p parts[p, c]
template <class T>
struct AddParts {
  std::size_t count, cols;
  const Accumulator<T>* parts;
  T* sum;
  CALM_KERNEL void operator()(std::size_t c) const {
    Accumulator<T> total = 0;
    for (std::size_t p = 0; p < count; ++p) total += parts[p * cols + c];
    sum[c] = narrow<T>(wide(sum[c]) + total);
  }
};

/// sum[c] += Σ_r term(r, c)
template <class T, class Term>
void add_columns(const char* kernel, std::size_t rows, std::size_t cols, const Term& term, T* sum) {
  using A = Accumulator<T>;
  const std::size_t in_part = rows_in_part(rows), count = (rows + in_part - 1) / in_part;
  if (count == 0 || cols == 0) return;
  const Scratch<A> parts(count * cols);
  each(kernel, count * cols, PartialColumns<A, Term>{rows, cols, in_part, term, parts.data()});
  each(kernel, cols, AddParts<T>{count, cols, parts.data(), sum});
}

template <class T>
struct Element {
  const T* x;
  std::size_t cols;
  CALM_KERNEL Accumulator<T> operator()(std::size_t r, std::size_t c) const { return wide(x[r * cols + c]); }
};

/// y[o, c] = factor · Σ_i x[o, i, c], a thread for each sum
template <class T>
struct SumAxis {
  std::size_t n, inner;
  Accumulator<T> factor;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(std::size_t i) const {
    const T* from = x + i / inner * n * inner + i % inner;
    Accumulator<T> total = 0;
    for (std::size_t j = 0; j < n; ++j) total += wide(from[j * inner]);
    y[i] = narrow<T>(factor * total);
  }
};

/// y[o] = factor · Σ_i x[o, i], a team for each sum
template <class T>
struct SumLast {
  std::size_t n;
  Accumulator<T> factor;
  const T* x;
  T* y;
  CALM_KERNEL void operator()(const Team& team, std::size_t o) const {
    using A = Accumulator<T>;
    const A total = team.template sum<A>(n, [&](std::size_t i) { return wide(x[o * n + i]); });
    team.each(1, [&](std::size_t) { y[o] = narrow<T>(factor * total); });
  }
};

template <class T>
struct SpreadAxis {
  std::size_t n, inner;
  Accumulator<T> factor;
  const T* dy;
  T* dx;
  CALM_KERNEL void operator()(std::size_t i) const {
    dx[i] = narrow<T>(wide(dx[i]) + factor * wide(dy[i / (n * inner) * inner + i % inner]));
  }
};

/// dot[r] = Σ_c x[r, c] · y[r, c]
template <class T>
struct RowDots {
  std::size_t width;
  const T *x, *y;
  Accumulator<T>* dot;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    using A = Accumulator<T>;
    const A total = team.template sum<A>(
        width, [&](std::size_t c) { return wide(x[r * width + c]) * wide(y[r * width + c]); });
    team.each(1, [&](std::size_t) { dot[r] = total; });
  }
};

/// sum[k] += Σ dot[r] over the rows r that take factor k
template <class T>
struct AddDots {
  std::size_t rows, factors;
  const Accumulator<T>* dot;
  T* sum;
  CALM_KERNEL void operator()(const Team& team, std::size_t k) const {
    const double total = team.template sum<double>(rows / factors, [&](std::size_t i) {
      return static_cast<double>(dot[i * factors + k]);
    });
    team.each(1, [&](std::size_t) {
      sum[k] = narrow<T>(wide(sum[k]) + static_cast<Accumulator<T>>(total));
    });
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void sum_rows(Cuda, std::size_t rows, std::size_t cols, const T* x, T* sum) {
  cuda::add_columns("sum_rows", rows, cols, cuda::Element<T>{x, cols}, sum);
}
template <class T>
void sum_axis(Cuda, std::size_t outer, std::size_t n, std::size_t inner, Accumulator<T> factor, const T* x, T* y) {
  if (inner == 1)
    cuda::teams("sum_axis", outer, n, cuda::SumLast<T>{n, factor, x, y});
  else
    cuda::each("sum_axis", outer * inner, cuda::SumAxis<T>{n, inner, factor, x, y});
}
template <class T>
void spread_axis(Cuda, std::size_t outer, std::size_t n, std::size_t inner, Accumulator<T> factor, const T* dy, T* dx) {
  cuda::each("spread_axis", outer * n * inner, cuda::SpreadAxis<T>{n, inner, factor, dy, dx});
}
template <class T>
void dot_rows(Cuda, RowFactors e, const T* x, const T* y, T* sum) {
  if (e.rows == 0) return;
  const cuda::Scratch<Accumulator<T>> dots(e.rows);
  cuda::teams("dot_rows", e.rows, e.width, cuda::RowDots<T>{e.width, x, y, dots.data()});
  cuda::teams("dot_rows", e.factors, e.rows / e.factors, cuda::AddDots<T>{e.rows, e.factors, dots.data(), sum});
}

#define CALM_SUMS(T)                                                                                                 \
  template void sum_rows<T>(Cuda, std::size_t, std::size_t, const T*, T*);                                           \
  template void sum_axis<T>(Cuda, std::size_t, std::size_t, std::size_t, Accumulator<T>, const T*, T*);              \
  template void spread_axis<T>(Cuda, std::size_t, std::size_t, std::size_t, Accumulator<T>, const T*, T*);           \
  template void dot_rows<T>(Cuda, RowFactors, const T*, const T*, T*);
CALM_FOR_PRODUCT_TYPES(CALM_SUMS)
#undef CALM_SUMS

}  // namespace calm::kernel
