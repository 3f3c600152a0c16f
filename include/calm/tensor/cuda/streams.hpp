/// \file  The order of what is launched: beside the rest, and recorded to be launched again as one.
#pragma once

#include <cstddef>

namespace calm::cuda {

/// From now on this thread launches on the second stream, behind all that was launched before; `end_beside` turns back.
void begin_beside();
void end_beside() noexcept;
/// What is launched from now on runs behind all that was launched beside.
void join_beside();
/// The same up to where `mark_beside` was last called with that number; nothing, if it was not since the last join.
void mark_beside(std::size_t place);
void join_beside_at(std::size_t place);

/// Whether what this thread launches now runs, in the order of all that is not beside.
bool in_order();

/// From now on what this thread launches is kept and does not run.
void begin_recording();
/// What was kept, for the two below; null where `abandon` is set.
void* end_recording(bool abandon);
void launch_recorded(void* recorded);
void drop_recorded(void* recorded) noexcept;

/// What `f` launched, to be launched again as one: the same kernels on the same memory (a CUDA graph).
class Recorded {
 public:
  /// Nothing of `f` runs. It should have run once before: a kernel is loaded, and a product's algorithm chosen, when
  /// they are first launched. Throws `Error`, and keeps nothing, if `f` waits for the device, copies between it and the
  /// host, or makes tensors that the host writes: these would not happen again.
  template <class F>
  explicit Recorded(const F& f) {
    begin_recording();
    try {
      f();
    } catch (...) {
      end_recording(true);
      throw;
    }
    recorded_ = end_recording(false);
  }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;
  ~Recorded() { drop_recorded(recorded_); }

  void launch() const { launch_recorded(recorded_); }

 private:
  void* recorded_ = nullptr;
};

}  // namespace calm::cuda
