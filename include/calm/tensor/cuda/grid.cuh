/// \file  How the GPU's kernels are run: one index at a time, or one item per block of threads that work together.
///
/// A kernel is a struct with a call operator. By nvcc it becomes a __global__ function; by any other compiler it runs
/// on the host, one index after another and one thread after another, so that tests follow it without a GPU
/// (tests/cuda/emulated).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/tensor/cuda/memory.hpp"
#include "calm/tensor/dtype.hpp"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define CALM_KERNEL __device__
#else
#define CALM_KERNEL
#endif

namespace calm::cuda {

/// Threads of a block that works on one item: enough for `width` elements, whole warps, at most 256.
inline unsigned threads_for(std::size_t width) {
  unsigned threads = 32;
  while (threads < width && threads < 256) threads *= 2;
  return threads;
}

/// Numbers x_i so far: the largest, and Σ e^(x_i - largest) (Milakov and Gimelshein 2018).
template <class A>
struct MaxSum {
  A most, sum;
  CALM_KERNEL static MaxSum none() { return {std::numeric_limits<A>::lowest(), A(0)}; }
  CALM_KERNEL static MaxSum of(A x) { return {x, A(1)}; }
};
struct JoinMaxSum {
  template <class A>
  CALM_KERNEL MaxSum<A> operator()(MaxSum<A> a, MaxSum<A> b) const {
    return b.most > a.most ? added(b, a) : added(a, b);
  }

 private:
  template <class A>
  CALM_KERNEL static MaxSum<A> added(MaxSum<A> larger, MaxSum<A> smaller) {
    return {larger.most, larger.sum + smaller.sum * std::exp(smaller.most - larger.most)};
  }
};

#ifdef __CUDACC__

/// Called after each launch, with what was launched; throws `Error` if it was refused.
void launched(const char* kernel, std::size_t items);
cudaStream_t stream();
/// The device's multiprocessors.
unsigned processors();

/// The threads of one block.
class Team {
 public:
  /// f(i) for each i in [0, n), in any order; then all wait for all.
  template <class F>
  __device__ void each(std::size_t n, const F& f) const {
    for (std::size_t i = threadIdx.x; i < n; i += blockDim.x) f(i);
    __syncthreads();
  }
  /// Σ f(i), in an order that depends on n and the number of threads alone; every thread gets it.
  template <class A, class F>
  __device__ A sum(std::size_t n, const F& f) const {
    return fold<A>(n, A(0), f, [](A a, A b) { return a + b; });
  }
  /// The largest f(i).
  template <class A, class F>
  __device__ A max(std::size_t n, const F& f) const {
    return fold<A>(n, std::numeric_limits<A>::lowest(), f, [](A a, A b) { return b > a ? b : a; });
  }
  /// The largest f(i) and Σ e^(f(i) - largest), reading each f(i) once.
  template <class A, class F>
  __device__ MaxSum<A> max_sum(std::size_t n, const F& f) const {
    return fold<MaxSum<A>>(n, MaxSum<A>::none(), [&](std::size_t i) { return MaxSum<A>::of(f(i)); }, JoinMaxSum{});
  }
  /// start, f(0), f(1), … by `join`, which may take them in any order and any grouping that depends on n and the number
  /// of threads alone; every thread gets it.
  template <class A, class F, class Join>
  __device__ A fold(std::size_t n, A start, const F& f, const Join& join) const {
    __shared__ A of_warp[32];
    A mine = start;
    for (std::size_t i = threadIdx.x; i < n; i += blockDim.x) mine = join(mine, f(i));
    for (int step = 16; step > 0; step /= 2) mine = join(mine, exchanged(mine, step));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
    __syncthreads();
    A all = of_warp[0];
    for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) all = join(all, of_warp[warp]);
    __syncthreads();
    return all;
  }
  /// The block's shared memory.
  template <class A>
  __device__ A* shared() const {
    extern __shared__ __align__(16) unsigned char calm_shared_memory[];
    return reinterpret_cast<A*>(calm_shared_memory);
  }

 private:
  /// What the thread `step` away has; words of 32 bits.
  template <class A>
  __device__ static A exchanged(A mine, int step) {
    constexpr int words = sizeof(A) / 4;
    static_assert(sizeof(A) % 4 == 0);
    std::uint32_t word[words];
    memcpy(word, &mine, sizeof(A));
    for (int w = 0; w < words; ++w) word[w] = __shfl_xor_sync(0xffffffffu, word[w], step);
    memcpy(&mine, word, sizeof(A));
    return mine;
  }
};

/// Blocks of 256 threads that a multiprocessor holds at a time.
inline constexpr std::size_t resident_blocks = 8;

template <class F>
__global__ void __launch_bounds__(256) each_index(std::size_t n, const F f) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

template <class F>
__global__ void each_item(std::size_t items, const F f) {
  for (std::size_t item = blockIdx.x; item < items; item += gridDim.x) f(Team{}, item);
}

inline constexpr std::size_t most_blocks = std::size_t{1} << 30;

/// f(i) for each i in [0, n), in any order.
template <class F>
void each(const char* kernel, std::size_t n, const F& f) {
  if (n == 0) return;
  const auto blocks = static_cast<unsigned>(std::min((n + 255) / 256, resident_blocks * processors()));
  each_index<F><<<blocks, 256, 0, stream()>>>(n, f);
  launched(kernel, n);
}

/// f(team, item) for each item in [0, items), by teams suited to `width` elements, with `shared` bytes of memory each.
template <class F>
void teams(const char* kernel, std::size_t items, std::size_t width, const F& f, std::size_t shared = 0) {
  if (items == 0) return;
  if (shared > 48 * 1024) {
    cudaFuncSetAttribute(each_item<F>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  }
  const auto blocks = static_cast<unsigned>(std::min(items, most_blocks));
  each_item<F><<<blocks, threads_for(width), shared, stream()>>>(items, f);
  launched(kernel, items);
}

#else  // the same on the host

/// Runs `f`, which may touch what stands for the device's memory, or keeps it for later, as the order of launches says.
void launch(const char* kernel, std::function<void()> f);

class Team {
 public:
  Team(unsigned threads, std::size_t shared) : threads_(threads), memory_((shared + 15) / 16 * 2, poison) {}

  template <class F>
  void each(std::size_t n, const F& f) const {
    for (unsigned thread = threads_; thread-- > 0;) {
      for (std::size_t i = thread; i < n; i += threads_) f(i);
    }
  }
  template <class A, class F>
  A sum(std::size_t n, const F& f) const {
    return fold<A>(n, A(0), f, [](A a, A b) { return a + b; });
  }
  template <class A, class F>
  A max(std::size_t n, const F& f) const {
    return fold<A>(n, std::numeric_limits<A>::lowest(), f, [](A a, A b) { return b > a ? b : a; });
  }
  template <class A, class F>
  MaxSum<A> max_sum(std::size_t n, const F& f) const {
    return fold<MaxSum<A>>(n, MaxSum<A>::none(), [&](std::size_t i) { return MaxSum<A>::of(f(i)); }, JoinMaxSum{});
  }
  template <class A, class F, class Join>
  A fold(std::size_t n, A start, const F& f, const Join& join) const {
    std::vector<A> mine(threads_, start), other(threads_);
    each(threads_, [&](std::size_t thread) {
      for (std::size_t i = thread; i < n; i += threads_) mine[thread] = join(mine[thread], f(i));
    });
    for (std::size_t step = 16; step > 0; step /= 2) {
      for (std::size_t thread = 0; thread < threads_; ++thread) other[thread] = join(mine[thread], mine[thread ^ step]);
      std::swap(mine, other);
    }
    A all = mine[0];
    for (unsigned warp = 1; warp < threads_ / 32; ++warp) all = join(all, mine[warp * 32]);
    return all;
  }
  template <class A>
  A* shared() const {
    return reinterpret_cast<A*>(memory_.data());
  }

 private:
  static constexpr std::uint64_t poison = ~std::uint64_t{0};

  unsigned threads_;
  mutable std::vector<std::uint64_t> memory_;
};

template <class F>
void each(const char* kernel, std::size_t n, const F& f) {
  launch(kernel, [=] {
    for (std::size_t i = n; i-- > 0;) f(i);
  });
}

template <class F>
void teams(const char* kernel, std::size_t items, std::size_t width, const F& f, std::size_t shared = 0) {
  launch(kernel, [=] {
    for (std::size_t item = items; item-- > 0;) f(Team(threads_for(width), shared), item);
  });
}

#endif

/// Device memory for the time of a launch, or a few.
template <class A>
class Scratch {
 public:
  explicit Scratch(std::size_t n) : bytes_(n * sizeof(A)), data_(static_cast<A*>(take(bytes_))) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { give(data_, bytes_); }

  A* data() const { return data_; }

 private:
  std::size_t bytes_;
  A* data_;
};

/// x in the type of sums, and back.
template <class T>
CALM_KERNEL Accumulator<T> wide(const T& x) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, f16>) return __half2float(__ushort_as_half(x.bits));
#endif
  return static_cast<Accumulator<T>>(x);
}
template <class T>
CALM_KERNEL T narrow(Accumulator<T> x) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, bf16>) {  // one instruction
    bf16 y;
    y.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
    return y;
  }
  if constexpr (std::is_same_v<T, f16>) {
    f16 y;
    y.bits = __half_as_ushort(__float2half_rn(x));
    return y;
  }
#endif
  return static_cast<T>(x);
}

}  // namespace calm::cuda

/// X(T) for the element types of the launchers.
#define CALM_FOR_COMPUTE_TYPES(X) X(float) X(double) X(calm::bf16)
#define CALM_FOR_PRODUCT_TYPES(X) CALM_FOR_COMPUTE_TYPES(X) X(calm::f16)
