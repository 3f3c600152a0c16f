/// \file  Work that a device does beside other work.
#pragma once

#include "calm/tensor/device.hpp"
#ifdef CALM_CUDA
#include "calm/tensor/cuda/streams.hpp"
#endif

namespace calm {

/// f(), which on a GPU runs beside what is launched behind it, until `join_beside`: nothing may use its results or
/// write what it reads before that. The host simply does it first.
template <class F>
auto launch_beside(Cpu, const F& f) {
  return f();
}
inline void join_beside(Cpu) {}

#ifdef CALM_CUDA
template <class F>
auto launch_beside(Cuda, const F& f) {
  struct Scope {
    Scope() { cuda::begin_beside(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { cuda::end_beside(); }
  } scope;
  return f();
}
inline void join_beside(Cuda) { cuda::join_beside(); }
#endif

}  // namespace calm
