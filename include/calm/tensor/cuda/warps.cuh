/// \file  Teams of four warps: 32 lanes each, which multiply matrices and exchange numbers together.
///
/// What a lane keeps stands in `Lanes`, what a warp keeps from one barrier to the next in `OfWarps`. By nvcc both are
/// variables in registers; on the host they are arrays, and a warp is a loop over its lanes.
#pragma once

#include <cstring>

#include "calm/tensor/cuda/grid.cuh"

#ifdef __CUDACC__
#define CALM_UNROLL _Pragma("unroll")
#define CALM_ROLL _Pragma("unroll 1")
#else
#define CALM_UNROLL
#define CALM_ROLL
#endif

namespace calm::cuda {

/// One X of each lane of a warp.
template <class X>
class Lanes {
 public:
#ifdef __CUDACC__
  __device__ X& operator[](unsigned) { return mine_; }
  __device__ const X& operator[](unsigned) const { return mine_; }

 private:
  X mine_;
#else
  X& operator[](unsigned lane) { return of_[lane]; }
  const X& operator[](unsigned lane) const { return of_[lane]; }

 private:
  X of_[32];
#endif
};

struct Sum {
  template <class A>
  CALM_KERNEL A operator()(A a, A b) const {
    return a + b;
  }
};
struct Larger {
  CALM_KERNEL float operator()(float a, float b) const { return b > a ? b : a; }
};

/// Bytes on their way from the device's memory to a team's; zeros instead where they are not `there`.
struct Piece {
  void* to;
  const void* from;
  bool there;
};

/// 2^x, for scores of tokens: what is below the smallest normal number is 0.
CALM_KERNEL inline float power_of_two(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}

/// 1 / x, to the last bit but one.
CALM_KERNEL inline float reciprocal(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

/// A team's memory from the first multiple of `shared_alignment` bytes on.
inline constexpr std::size_t shared_alignment = 1024;
template <class A>
CALM_KERNEL A* aligned_memory(const Team& team) {
  const auto start = reinterpret_cast<std::uintptr_t>(team.template shared<unsigned char>());
  return reinterpret_cast<A*>((start + shared_alignment - 1) / shared_alignment * shared_alignment);
}
/// What a kernel with `bytes` of it asks for.
constexpr std::size_t with_alignment(std::size_t bytes) { return bytes == 0 ? 0 : bytes + shared_alignment; }

#ifdef __CUDACC__

struct Warp {
  unsigned number;  ///< in its team

  /// f(lane) for each lane.
  template <class F>
  __device__ void each(const F& f) const {
    f(threadIdx.x % 32);
  }
  /// Each lane gets what it and its neighbours, `Width` lanes in all, have together.
  template <unsigned Width, class A, class Join>
  __device__ void fold(Lanes<A>& x, const Join& join) const {
    CALM_UNROLL for (unsigned step = 1; step < Width; step *= 2) {
      x[0] = join(x[0], __shfl_xor_sync(0xffffffffu, x[0], step));
    }
  }
};

template <class X>
class OfWarps {
 public:
  __device__ X& operator[](const Warp&) { return mine_; }

 private:
  X mine_;
};

class WarpTeam : public Team {
 public:
  static constexpr unsigned warps = 4, threads = 32 * warps;

  /// f(warp) for each warp, none of which waits for another.
  template <class F>
  __device__ void each_warp(const F& f) const {
    f(Warp{threadIdx.x / 32 % warps});
  }
  /// Begins to copy N pieces of `Bytes` bytes, which f(i) names; `arrive` waits for them. Where f is not `simple`, one
  /// piece of a thread comes after the other, which takes fewer registers.
  template <unsigned N, unsigned Bytes, bool Simple = true, class F>
  __device__ void copy(const F& f) const {
    const auto one = [&](unsigned start) {
      const unsigned i = start | threadIdx.x % threads;
      if (N % threads != 0 && i >= N) return;
      const Piece piece = f(i);
      const auto to = static_cast<unsigned>(__cvta_generic_to_shared(piece.to));
      if constexpr (Bytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(piece.from),
                     "r"(piece.there ? 16 : 0) : "memory");
      } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(piece.from), "n"(Bytes),
                     "r"(piece.there ? Bytes : 0) : "memory");
      }
    };
    if constexpr (Simple) {
      CALM_UNROLL for (unsigned start = 0; start < N; start += threads) one(start);
    } else {
      CALM_ROLL for (unsigned start = 0; start < N; start += threads) one(start);
    }
  }
  /// All warps wait for each other and for all copies that were begun.
  __device__ void arrive() const {
    asm volatile("cp.async.wait_all;" ::: "memory");
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // warpgroup.cuh's instructions see it too
#endif
    __syncthreads();
  }
  __device__ void barrier() const { __syncthreads(); }
  /// The team's memory; it begins at a multiple of 1024 bytes.
  template <class A>
  __device__ A* shared() const {
    return aligned_memory<A>(*this);
  }
};

template <class F>
__global__ void __launch_bounds__(WarpTeam::threads, F::teams_per_processor) each_warp_team(const F f) {
  f(WarpTeam{}, blockIdx.x);
}

/// f(team, item) for each item in [0, items), first items first, by teams with F::shared_bytes of memory each.
template <class F>
void warp_teams(const char* kernel, std::size_t items, const F& f) {
  if (items == 0) return;
  constexpr std::size_t bytes = with_alignment(F::shared_bytes);
  if (bytes > 48 * 1024) {
    cudaFuncSetAttribute(each_warp_team<F>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  }
  each_warp_team<F><<<static_cast<unsigned>(items), WarpTeam::threads, bytes, stream()>>>(f);
  launched(kernel, items);
}

#else  // the same on the host

struct Warp {
  unsigned number;

  template <class F>
  void each(const F& f) const {
    for (unsigned lane = 32; lane-- > 0;) f(lane);
  }
  template <unsigned Width, class A, class Join>
  void fold(Lanes<A>& x, const Join& join) const {
    for (unsigned step = 1; step < Width; step *= 2) {
      const Lanes<A> before = x;
      each([&](unsigned lane) { x[lane] = join(before[lane], before[lane ^ step]); });
    }
  }
};

class WarpTeam : public Team {
 public:
  static constexpr unsigned warps = 4, threads = 32 * warps;

  explicit WarpTeam(std::size_t shared) : Team(threads, shared) {}

  template <class F>
  void each_warp(const F& f) const {
    for (unsigned warp = warps; warp-- > 0;) f(Warp{warp});
  }
  /// What is copied comes as late as it may, and until then nothing is there.
  template <unsigned N, unsigned Bytes, bool Simple = true, class F>
  void copy(const F& f) const {
    for (unsigned i = N; i-- > 0;) {
      const Piece piece = f(i);
      std::memset(piece.to, 0xff, Bytes);
      coming_.push_back({piece, Bytes});
    }
  }
  void arrive() const {
    for (const auto& [piece, bytes] : coming_) {
      if (piece.there) std::memcpy(piece.to, piece.from, bytes);
      else std::memset(piece.to, 0, bytes);
    }
    coming_.clear();
  }
  void barrier() const {}
  template <class A>
  A* shared() const {
    return aligned_memory<A>(*this);
  }

 private:
  struct Coming {
    Piece piece;
    unsigned bytes;
  };
  mutable std::vector<Coming> coming_;
};

template <class X>
class OfWarps {
 public:
  OfWarps() : of_(WarpTeam::warps) { std::memset(static_cast<void*>(of_.data()), 0xff, of_.size() * sizeof(X)); }
  X& operator[](const Warp& warp) { return of_[warp.number]; }

 private:
  std::vector<X> of_;
};

template <class F>
void warp_teams(const char* kernel, std::size_t items, const F& f) {
  launch(kernel, [=] {
    for (std::size_t item = items; item-- > 0;) f(WarpTeam(with_alignment(F::shared_bytes)), item);
  });
}

#endif

}  // namespace calm::cuda
