/// \file  Training runs side by side, one thread to each; on a GPU one after another.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "device.hpp"

namespace kv {

/// Runs jobs on all cores, one thread to each: these models are too small to share a product among cores, and what a
/// run gives does not depend on how many there are. The first failure stops what has not begun, and is thrown at the
/// end.
inline void run_jobs(const std::vector<std::function<void()>>& jobs) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
      try {
        jobs[i]();
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next = jobs.size();
      }
    }
  };
  std::vector<std::thread> threads;
  const unsigned count = one_job_at_a_time ? 1 : std::max(1u, std::thread::hardware_concurrency());
  for (unsigned t = 0; t < count; ++t) threads.emplace_back(work);
  for (auto& t : threads) t.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace kv
