/// \file  Work that a device does beside other work.
#pragma once

#include <cstddef>
#include <utility>

#include "calm/tensor/cpu/team.hpp"
#include "calm/tensor/device.hpp"
#ifdef CALM_CUDA
#include "calm/tensor/cuda/streams.hpp"
#endif

namespace calm {

/// f(), which on a GPU runs beside what is launched behind it, until `join_beside`: nothing may use its results or
/// write what it reads before that. The host does it first, but for what f leaves to `do_beside`.
template <class F>
auto launch_beside(Cpu, const F& f) {
  return f();
}
/// Within f: g(), which the host does beside what follows f, on the other thread of a team of two.
template <class G>
void do_beside(Cpu, G g) {
  if (auto* const team = kernel::detail::Team::led()) return team->launch(std::move(g));
  g();
}
inline void join_beside(Cpu) {
  if (auto* const team = kernel::detail::Team::led()) team->join();
}
/// Within f and g: a place to which `join_beside(device, place)` waits, and no further. On the host it is marked once.
inline void mark_beside(Cpu, std::size_t place) { kernel::detail::Team::reach(place); }
inline void join_beside(Cpu, std::size_t place) {
  if (auto* const team = kernel::detail::Team::led()) team->join(place);
}

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
template <class G>
void do_beside(Cuda, const G& g) {
  g();
}
inline void join_beside(Cuda) { cuda::join_beside(); }
inline void mark_beside(Cuda, std::size_t place) { cuda::mark_beside(place); }
inline void join_beside(Cuda, std::size_t place) { cuda::join_beside_at(place); }
#endif

}  // namespace calm
