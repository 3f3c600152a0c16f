/// \file  Where the experiment runs: on the host, or on a GPU in a program that is compiled for one.
#pragma once

#include <chrono>
#include <time.h>

#include <calm/tensor/device.hpp>

namespace kv {

#ifdef CALM_CUDA
using Device = calm::Cuda;

/// A GPU does its work in one order, so one run after another has it.
inline constexpr bool one_job_at_a_time = true;

/// The clock's seconds: a run has the GPU for itself.
inline double seconds_used() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
#else
using Device = calm::Cpu;

inline constexpr bool one_job_at_a_time = false;

/// What the calling thread has had of a processor, in seconds: what else runs on the machine hardly changes it.
inline double seconds_used() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
#endif

}  // namespace kv
