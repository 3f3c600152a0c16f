/// \file  Host kernels for a softmax across several arrays, place by place.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/many.hpp"
#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/sum.hpp"

namespace calm::kernel {

namespace detail {

/// weight[j][c] = e^(score_j - m) / Σ_k e^(score_k - m) at place first + c, m being the largest score; j = n: null. The
/// exponentials are sorted before they are added up, so the sum has the same bits in any order of the scores. A score
/// of -∞ gets 0, and so do all where there is no other.
template <class T, class A>
void share_places(const Rivals<T>& r, std::size_t first, std::size_t width, A (*weight)[place_block]) {
  A top[place_block], sum[place_block], sorted[most_arrays][place_block];
  for (std::size_t c = 0; c < width; ++c) {
    weight[r.n][c] = r.null ? A(r.null[(first + c) % r.cols]) : -std::numeric_limits<A>::infinity();
    top[c] = std::max(std::numeric_limits<A>::lowest(), weight[r.n][c]);
  }
  for (std::size_t j = 0; j < r.n; ++j) {
    for (std::size_t c = 0; c < width; ++c) {
      weight[j][c] = A(r.scores[j][first + c]);
      top[c] = std::max(top[c], weight[j][c]);
    }
  }
  for (std::size_t j = 0; j <= r.n; ++j) {
    for (std::size_t c = 0; c < width; ++c) {
      const A below = weight[j][c] - top[c];
      weight[j][c] = below < A(-87) ? A(0) : fast_exp(below);
    }
  }
  for (std::size_t j = 0; j < r.n; ++j) std::copy_n(weight[j], width, sorted[j]);
  sort_places(r.n, width, sorted);
  std::copy_n(weight[r.n], width, sum);
  for (std::size_t j = 0; j < r.n; ++j) {
    for (std::size_t c = 0; c < width; ++c) sum[c] += sorted[j][c];
  }
  for (std::size_t j = 0; j <= r.n; ++j) {
    for (std::size_t c = 0; c < width; ++c) weight[j][c] = sum[c] == 0 ? A(0) : weight[j][c] / sum[c];
  }
}

/// Calls f(first, width, weight) for the places of `r`, some at a time, with their `share_places`.
template <class T, class F>
void for_shares(const Rivals<T>& r, const F& f) {
  parallel_ranges(r.size, rows_per_thread(16 * r.n), [&](std::size_t begin, std::size_t end) {
    Accumulator<T> weight[most_arrays + 1][place_block];
    for (std::size_t first = begin; first < end; first += place_block) {
      const std::size_t width = std::min(place_block, end - first);
      share_places(r, first, width, weight);
      f(first, width, weight);
    }
  });
}

}  // namespace detail

/// y = the share of score `i`
template <class T>
void share(Cpu, const Rivals<T>& r, std::size_t i, T* y) {
  detail::for_shares(r, [=](std::size_t first, std::size_t width, const auto* weight) {
    for (std::size_t c = 0; c < width; ++c) y[first + c] = static_cast<T>(weight[i][c]);
  });
}

/// d_scores[j] += dy · y_i · ([i = j] - y_j), and d_null (one number per place) = -dy · y_i · y_null; either may be
/// null
template <class T>
void share_backward(Cpu, const Rivals<T>& r, std::size_t i, const T* dy, T* const* d_scores, T* d_null) {
  using A = Accumulator<T>;
  detail::for_shares(r, [=, n = r.n](std::size_t first, std::size_t width, const auto* weight) {
    A g[detail::place_block];
    for (std::size_t c = 0; c < width; ++c) g[c] = A(dy[first + c]) * weight[i][c];
    for (std::size_t j = 0; d_scores && j < n; ++j) {
      T* to = d_scores[j] + first;
      const A own = i == j ? A(1) : A(0);
      for (std::size_t c = 0; c < width; ++c) to[c] = static_cast<T>(A(to[c]) + g[c] * (own - weight[j][c]));
    }
    if (d_null == nullptr) return;
    for (std::size_t c = 0; c < width; ++c) d_null[first + c] = static_cast<T>(-g[c] * weight[n][c]);
  });
}

}  // namespace calm::kernel
