/// \file  The one seam to threads: OpenMP where the program is built with it, else a plain loop.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "calm/tensor/cpu/team.hpp"
#include "calm/tensor/device.hpp"

namespace calm::kernel {

/// How many threads a parallel loop of this thread may use.
inline std::size_t threads() {
#ifdef _OPENMP
  if (const detail::Team* team = detail::Team::led()) return team->size();
  return omp_in_parallel() ? 1 : static_cast<std::size_t>(omp_get_max_threads());
#else
  return 1;
#endif
}

/// f(), its parallel loops shared by threads that stay awake in between: for many short ones in a row. What they
/// compute is the same, to the bit. One call of the process at a time has such threads; within it, loops of OpenMP that
/// are not the library's have one thread.
template <class F>
auto with_team(Cpu, const F& f) {
#ifdef _OPENMP
  // A thread that waits for its turn on a processor would hold up all others in each loop.
  if (detail::Team::led() == nullptr && threads() > 1 && omp_get_max_threads() <= omp_get_num_procs() &&
      !detail::Team::any().exchange(true)) {
    std::optional<decltype(f())> result;
    std::exception_ptr error;
    std::optional<detail::Team> team;
#pragma omp parallel
    {
#pragma omp single
      team.emplace(static_cast<std::size_t>(omp_get_num_threads()));
      if (const int thread = omp_get_thread_num(); thread > 0) {
        team->serve(static_cast<std::size_t>(thread));
      } else {
        detail::Team::led() = &*team;
        try {
          result.emplace(f());
        } catch (...) {
          error = std::current_exception();
        }
        detail::Team::led() = nullptr;
        team->dismiss();
      }
    }
    detail::Team::any() = false;
    if (error) std::rethrow_exception(error);
    return *std::move(result);
  }
#endif
  return f();
}
template <class Device, class F>
auto with_team(Device, const F& f) {
  return f();
}

/// Into how many ranges `parallel_ranges` cuts [0, n): as many as there are threads, none shorter than `grain`.
inline std::size_t parts_of(std::size_t n, std::size_t grain) {
  return std::min(threads(), std::max<std::size_t>(1, n / std::max<std::size_t>(1, grain)));
}

namespace detail {

/// f(part) for each of [0, parts), all at a time. parts <= threads()
template <class F>
void run_parts(std::size_t parts, const F& f) {
  if (parts == 1) return f(0);
#ifdef _OPENMP
  if (Team* team = Team::led()) return team->run(parts, f);
// Always all threads, even if some have no part: libgomp ends and remakes threads when their number changes.
#pragma omp parallel for schedule(static, 1)
#endif
  for (std::size_t p = 0; p < parts; ++p) f(p);
}

}  // namespace detail

/// Calls f(begin, end), or f(part, begin, end), on disjoint ranges that cover [0, n), none shorter than `grain` but the
/// last. The cut depends on n, grain and threads() alone. What f works in is best allocated before, for all parts: how
/// many of them run at once is a matter of chance, and an exception may not leave them.
template <class F>
void parallel_ranges(std::size_t n, std::size_t grain, const F& f) {
  if (n == 0) return;
  const std::size_t parts = parts_of(n, grain);
  detail::run_parts(parts, [n, parts, f](std::size_t part) {
    const std::size_t begin = n * part / parts, end = n * (part + 1) / parts;
    if constexpr (std::is_invocable_v<const F&, std::size_t, std::size_t, std::size_t>)
      f(part, begin, end);
    else
      f(begin, end);
  });
}

/// Calls f(thread, i) for every i in [0, n), handing out single indices as threads come free; for items of unequal
/// cost. thread < threads(), and no two calls with the same one run at a time.
template <class F>
void parallel_items(std::size_t n, const F& f) {
  std::atomic<std::size_t> next{0};
  detail::run_parts(parts_of(n, 1), [&](std::size_t thread) {
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) f(thread, i);
  });
}

}  // namespace calm::kernel
