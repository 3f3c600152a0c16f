/// \file  The one seam to threads: OpenMP where the program is built with it, else a plain loop.
#pragma once

#include <algorithm>
#include <cstddef>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace calm::kernel {

/// How many threads a parallel loop of this thread may use.
inline std::size_t threads() {
#ifdef _OPENMP
  return omp_in_parallel() ? 1 : static_cast<std::size_t>(omp_get_max_threads());
#else
  return 1;
#endif
}

/// Calls f(begin, end) on disjoint ranges that cover [0, n), none shorter than `grain` but the last. The cut depends on
/// n, grain and threads() alone.
template <class F>
void parallel_ranges(std::size_t n, std::size_t grain, const F& f) {
  if (n == 0) return;
  const std::size_t parts = std::min(threads(), std::max<std::size_t>(1, n / std::max<std::size_t>(1, grain)));
  if (parts == 1) {
    f(std::size_t{0}, n);
    return;
  }
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1) num_threads(static_cast<int>(parts))
#endif
  for (std::size_t p = 0; p < parts; ++p) f(n * p / parts, n * (p + 1) / parts);
}

/// Calls f(i) for every i in [0, n), handing out single indices as threads come free; for items of unequal cost.
template <class F>
void parallel_items(std::size_t n, const F& f) {
#ifdef _OPENMP
  const auto parts = static_cast<int>(std::min(threads(), n));
  if (parts > 1) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(parts)
    for (std::size_t i = 0; i < n; ++i) f(i);
    return;
  }
#endif
  for (std::size_t i = 0; i < n; ++i) f(i);
}

}  // namespace calm::kernel
