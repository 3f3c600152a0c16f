/// \file  Work that a device does beside other work.
#pragma once

#include <cstddef>

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
/// Within f: a place to which `join_beside(device, place)` waits, and no further. A place may be marked again.
inline void mark_beside(Cpu, std::size_t) {}
inline void join_beside(Cpu, std::size_t) {}

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
inline void mark_beside(Cuda, std::size_t place) { cuda::mark_beside(place); }
inline void join_beside(Cuda, std::size_t place) { cuda::join_beside_at(place); }
#endif

}  // namespace calm
