/// \file  The GPU's kernels of Adafactor; tensor/cpu/adafactor.hpp says what they compute. The host waits for nothing.
#pragma once

#include <cmath>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/optimizer.cuh"  // SumAll
#include "calm/tensor/cuda/sums.cuh"

namespace calm::cuda {

/// A scaled gradient; null: zero.
template <class T>
struct ScaledGradient {
  double scale;
  const T* g;
  CALM_KERNEL double operator()(std::size_t i) const { return g ? scale * static_cast<double>(g[i]) : 0.0; }
};

/// A second moment moves towards `mean`.
template <class A>
CALM_KERNEL double move_moment(A& moment, double forget, double mean) {
  moment = static_cast<A>(static_cast<double>(moment) + forget * (mean - static_cast<double>(moment)));
  return static_cast<double>(moment);
}

/// g² + ε, of a row and a column
template <class T>
struct SquareAt {
  ScaledGradient<T> gradient;
  double epsilon;
  std::size_t width;
  CALM_KERNEL double operator()(std::size_t r, std::size_t c) const {
    const double g = gradient(r * width + c);
    return g * g + epsilon;
  }
};

/// factor[r] = the moment of row r, moved
template <class T, class A>
struct RowMoments {
  SquareAt<T> square;
  double forget;
  A* rows;
  double* factor;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    const double sum = team.template sum<double>(square.width, [&](std::size_t c) { return square(r, c); });
    team.each(1,
              [&](std::size_t) { factor[r] = move_moment(rows[r], forget, sum / static_cast<double>(square.width)); });
  }
};
/// factor[r] = (factor[r] / their mean)^-1/2 for the rows of each matrix
struct RowScales {
  std::size_t rows;
  double* factor;
  CALM_KERNEL void operator()(const Team& team, std::size_t m) const {
    double* const own = factor + m * rows;
    const double mean =
        team.template sum<double>(rows, [&](std::size_t r) { return own[r]; }) / static_cast<double>(rows);
    team.each(rows, [&](std::size_t r) { own[r] = 1 / std::sqrt(own[r] / mean); });
  }
};
/// factor[c] = (the moment of column c, moved towards factor[c] / rows)^-1/2
template <class A>
struct ColumnFactors {
  std::size_t rows;
  double forget;
  A* columns;
  double* factor;
  CALM_KERNEL void operator()(std::size_t c) const {
    factor[c] = 1 / std::sqrt(move_moment(columns[c], forget, factor[c] / static_cast<double>(rows)));
  }
};
/// The moment of each element, where there are no columns.
template <class T, class A>
struct ElementMoments {
  SquareAt<T> square;
  double forget;
  A* moments;
  CALM_KERNEL void operator()(std::size_t i) const { move_moment(moments[i], forget, square(0, i)); }
};

/// What a parameter moves along, before it is clipped; `moments` where there are no columns.
template <class T, class A>
struct Direction {
  ScaledGradient<T> gradient;
  std::size_t height, width;
  const A* moments;
  const double *row_factor, *column_factor;
  CALM_KERNEL double operator()(std::size_t r, std::size_t c) const {
    const double g = gradient(r * width + c);
    return moments ? g / std::sqrt(static_cast<double>(moments[c]))
                   : g * row_factor[r] * column_factor[r / height * width + c];
  }
};
/// sums[r] = Σ_c direction(r, c)²
template <class T, class A>
struct DirectionSquares {
  Direction<T, A> direction;
  double* sums;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    const double sum =
        team.template sum<double>(direction.width, [&](std::size_t c) { return direction(r, c) * direction(r, c); });
    team.each(1, [&](std::size_t) { sums[r] = sum; });
  }
};

/// x = decay · x - step · direction; totals[0] = Σ direction², totals[1] = Σ x² if the step is relative
template <class T, class A>
struct ClippedStep {
  Direction<T, A> direction;
  kernel::AdafactorStep s;
  double n;
  const double* totals;
  A* master;
  T* x;
  CALM_KERNEL void operator()(std::size_t i) const {
    const double beyond = std::sqrt(totals[0] / n) / s.clip_threshold;
    double step = s.step_size / (beyond > 1 ? beyond : 1);
    if (s.relative) {
      const double size = std::sqrt(totals[1] / n);
      step *= size > s.relative_floor ? size : s.relative_floor;
    }
    A before = static_cast<A>(x[i]);
    if (master && static_cast<A>(rounded(master[i])) == before) before = master[i];
    const auto changed = static_cast<A>(s.decay * static_cast<double>(before) -
                                        step * direction(i / direction.width, i % direction.width));
    if (master) master[i] = changed;
    x[i] = rounded(changed);
  }

 private:
  CALM_KERNEL static T rounded(A exact) { return narrow<T>(static_cast<Accumulator<T>>(exact)); }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T, class A>
void adafactor(Cuda device, const Matrices& shape, const AdafactorStep& s, const T* g, A* rows, A* columns, A* master,
               T* x) {
  const std::size_t all_rows = shape.count * shape.rows, width = shape.columns, n = all_rows * width;
  const cuda::Scratch<double> scratch(2 * all_rows + shape.count * width + 2);
  double* const row_factor = scratch.data();
  double *const column_factor = row_factor + all_rows, *const row_sums = column_factor + shape.count * width;
  double* const totals = row_sums + all_rows;
  const cuda::ScaledGradient<T> gradient{s.gradient_scale, g};
  const cuda::SquareAt<T> square{gradient, s.epsilon, width};
  if (columns == nullptr) {
    cuda::each("adafactor", n, cuda::ElementMoments<T, A>{square, s.forget, rows});
  } else {
    cuda::teams("adafactor", all_rows, width, cuda::RowMoments<T, A>{square, s.forget, rows, row_factor});
    cuda::teams("adafactor", shape.count, shape.rows, cuda::RowScales{shape.rows, row_factor});
    fill(device, shape.count * width, 0.0, column_factor);
    for (std::size_t m = 0; m < shape.count; ++m) {
      const T* const own = g ? g + m * shape.rows * width : nullptr;
      cuda::add_columns("adafactor", shape.rows, width, cuda::SquareAt<T>{{s.gradient_scale, own}, s.epsilon, width},
                        column_factor + m * width);
    }
    // The column factors follow one another as the matrices do.
    cuda::each("adafactor", shape.count * width, cuda::ColumnFactors<A>{shape.rows, s.forget, columns, column_factor});
  }
  const cuda::Direction<T, A> direction{gradient,   shape.rows,   width, columns ? nullptr : rows,
                                        row_factor, column_factor};
  cuda::teams("adafactor", all_rows, width, cuda::DirectionSquares<T, A>{direction, row_sums});
  cuda::teams("adafactor", 1, all_rows, cuda::SumAll{all_rows, row_sums, totals});
  if (s.relative) sum_of_squares(device, n, static_cast<const T*>(x), totals + 1);
  cuda::each("adafactor", n, cuda::ClippedStep<T, A>{direction, s, static_cast<double>(n), totals, master, x});
}

#define CALM_ADAFACTOR(T, A) \
  template void adafactor<T, A>(Cuda, const Matrices&, const AdafactorStep&, const T*, A*, A*, A*, T*);
CALM_ADAFACTOR(float, float)
CALM_ADAFACTOR(bf16, float)
CALM_ADAFACTOR(float, double)
CALM_ADAFACTOR(double, double)
CALM_ADAFACTOR(bf16, double)
#undef CALM_ADAFACTOR

}  // namespace calm::kernel
