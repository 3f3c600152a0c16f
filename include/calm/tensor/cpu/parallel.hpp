/// \file  The one seam to threads: OpenMP where the program is built with it, else a plain loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

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

/// Into how many ranges `parallel_ranges` cuts [0, n): as many as there are threads, none shorter than `grain`.
inline std::size_t parts_of(std::size_t n, std::size_t grain) {
  return std::min(threads(), std::max<std::size_t>(1, n / std::max<std::size_t>(1, grain)));
}

/// Calls f(begin, end), or f(part, begin, end), on disjoint ranges that cover [0, n), none shorter than `grain` but the
/// last. The cut depends on n, grain and threads() alone. What f works in is best allocated before, for all parts: how
/// many of them run at once is a matter of chance, and an exception may not leave them.
template <class F>
void parallel_ranges(std::size_t n, std::size_t grain, const F& f) {
  const auto call = [&](std::size_t part, std::size_t begin, std::size_t end) {
    if constexpr (std::is_invocable_v<const F&, std::size_t, std::size_t, std::size_t>)
      f(part, begin, end);
    else
      f(begin, end);
  };
  if (n == 0) return;
  const std::size_t parts = parts_of(n, grain);
  if (parts == 1) {
    call(0, 0, n);
    return;
  }
  // Always the whole team, even if some have no part: libgomp ends and remakes threads when a team changes its size.
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1)
#endif
  for (std::size_t p = 0; p < parts; ++p) call(p, n * p / parts, n * (p + 1) / parts);
}

/// Calls f(thread, i) for every i in [0, n), handing out single indices as threads come free; for items of unequal cost.
/// thread < threads(), and no two calls with the same one run at a time.
template <class F>
void parallel_items(std::size_t n, const F& f) {
#ifdef _OPENMP
  if (threads() > 1 && n > 1) {
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t i = 0; i < n; ++i) f(static_cast<std::size_t>(omp_get_thread_num()), i);
    return;
  }
#endif
  for (std::size_t i = 0; i < n; ++i) f(0, i);
}

}  // namespace calm::kernel
