/// \file  Host kernels of Adafactor. Sums are cut by rows and columns, never by threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/adamw.hpp"  // sum_of_squares
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

/// Rows worth a thread of its own.
inline std::size_t row_grain(std::size_t columns) {
  return std::max<std::size_t>(1, (std::size_t{1} << 14) / std::max<std::size_t>(1, columns));
}

/// Moves the moments of rows and columns towards the means of g² + ε, then leaves in `row_factor` and `column_factor`
/// what g is multiplied by: (row / mean of rows)^-1/2 and column^-1/2. (Algorithm 4.)
template <class A, class Gradient>
void factored_moments(const Matrices& shape, const AdafactorStep& s, const Gradient& gradient, A* rows, A* columns,
                      double* row_factor, double* column_factor) {
  const std::size_t all_rows = shape.count * shape.rows, width = shape.columns;
  const auto move = [&s](A& moment, double mean) {
    moment = static_cast<A>(static_cast<double>(moment) + s.forget * (mean - static_cast<double>(moment)));
    return static_cast<double>(moment);
  };
  parallel_ranges(all_rows, row_grain(width), [=, &s](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      double sum = 0;
      for (std::size_t c = 0; c < width; ++c) sum += gradient(r * width + c) * gradient(r * width + c) + s.epsilon;
      row_factor[r] = move(rows[r], sum / static_cast<double>(width));
    }
  });
  for (std::size_t m = 0; m < shape.count; ++m) {
    double* const own = row_factor + m * shape.rows;
    double sum = 0;
    for (std::size_t r = 0; r < shape.rows; ++r) sum += own[r];
    const double mean = sum / static_cast<double>(shape.rows);
    for (std::size_t r = 0; r < shape.rows; ++r) own[r] = 1 / std::sqrt(own[r] / mean);
    parallel_ranges(width, row_grain(shape.rows), [=, &s](std::size_t begin, std::size_t end) {
      double* const column = column_factor + m * width;
      for (std::size_t c = begin; c < end; ++c) column[c] = 0;
      for (std::size_t r = m * shape.rows; r < (m + 1) * shape.rows; ++r) {
        for (std::size_t c = begin; c < end; ++c) {
          column[c] += gradient(r * width + c) * gradient(r * width + c) + s.epsilon;
        }
      }
      for (std::size_t c = begin; c < end; ++c) {
        column[c] = 1 / std::sqrt(move(columns[m * width + c], column[c] / static_cast<double>(shape.rows)));
      }
    });
  }
}

/// x = decay · x - step · direction(row, i), the step cut where the direction's root mean square is beyond the
/// threshold (§6). `row_sums` has room for a number per row, and `partial` for those of `sum_of_squares`.
template <class T, class A, class Direction>
void clipped_step(std::size_t rows, std::size_t width, const AdafactorStep& s, const Direction& direction, A* master,
                  T* x, double* row_sums, double* partial) {
  const auto n = static_cast<double>(rows * width);
  parallel_ranges(rows, row_grain(width), [=](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      double sum = 0;
      for (std::size_t i = r * width; i < (r + 1) * width; ++i) sum += direction(r, i) * direction(r, i);
      row_sums[r] = sum;
    }
  });
  double squares = 0;
  for (std::size_t r = 0; r < rows; ++r) squares += row_sums[r];
  double step = s.step_size / std::max(1.0, std::sqrt(squares / n) / s.clip_threshold);
  if (s.relative) step *= std::max(s.relative_floor, std::sqrt(sum_of_squares(Cpu{}, rows * width, x, partial) / n));
  parallel_ranges(rows, row_grain(width), [=, &s](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      for (std::size_t i = r * width; i < (r + 1) * width; ++i) {
        A value = static_cast<A>(x[i]);
        // A master that does not round to x was overtaken by another hand, and x counts.
        if (master && static_cast<A>(static_cast<T>(static_cast<Accumulator<T>>(master[i]))) == value) {
          value = master[i];
        }
        const auto changed = static_cast<A>(s.decay * static_cast<double>(value) - step * direction(r, i));
        if (master) master[i] = changed;
        x[i] = static_cast<T>(static_cast<Accumulator<T>>(changed));
      }
    }
  });
}

}  // namespace detail

/// One Adafactor step on matrices `x` with gradient `g` (null: zero). `rows` and `columns` are their second moments;
/// without `columns`, `rows` has one per element. `master` is as in `adamw`. `scratch` has room for two numbers per
/// row, one per column and one per chunk of `sum_of_squares`.
template <class T, class A>
void adafactor(Cpu, const Matrices& shape, const AdafactorStep& s, const T* g, A* rows, A* columns, A* master, T* x,
               double* scratch) {
  const std::size_t all_rows = shape.count * shape.rows, width = shape.columns;
  double* const row_factor = scratch;
  double* const column_factor = scratch + all_rows;
  double* const row_sums = column_factor + shape.count * width;
  double* const partial = row_sums + all_rows;
  const double scale = s.gradient_scale;
  const auto gradient = [=](std::size_t i) { return g ? scale * static_cast<double>(g[i]) : 0.0; };
  if (columns == nullptr) {
    for (std::size_t i = 0; i < width; ++i) {
      const double square = gradient(i) * gradient(i) + s.epsilon, moment = static_cast<double>(rows[i]);
      rows[i] = static_cast<A>(moment + s.forget * (square - moment));
    }
    const auto direction = [=](std::size_t, std::size_t i) {
      return gradient(i) / std::sqrt(static_cast<double>(rows[i]));
    };
    detail::clipped_step(1, width, s, direction, master, x, row_sums, partial);
    return;
  }
  detail::factored_moments(shape, s, gradient, rows, columns, row_factor, column_factor);
  // The column factors follow one another as the matrices do, so row r reads those of matrix r / rows.
  const std::size_t height = shape.rows;
  const auto direction = [=](std::size_t r, std::size_t i) {
    return gradient(i) * row_factor[r] * column_factor[r / height * width + (i - r * width)];
  };
  detail::clipped_step(all_rows, width, s, direction, master, x, row_sums, partial);
}

}  // namespace calm::kernel
