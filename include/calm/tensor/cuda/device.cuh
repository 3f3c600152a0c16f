/// \file  The GPU itself: memory, copies and streams.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/memory.hpp"
#include "calm/tensor/error.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::cuda {

[[noreturn]] inline void fail(const std::string& what, cudaError_t error) {
  int number = -1;
  cudaGetDevice(&number);
  throw Error("calm::cuda: " + what + ": " + cudaGetErrorString(error) + " (device " + std::to_string(number) + ")");
}
inline void check(cudaError_t error, const char* call) {
  if (error != cudaSuccess) [[unlikely]]
    fail(call, error);
}
inline void check(cublasStatus_t status, const std::string& call) {
  if (status != CUBLAS_STATUS_SUCCESS) [[unlikely]]
    throw Error("calm::cuda: " + call + ": " + cublasLtGetStatusString(status));
}

/// Host memory that the device reads, by size; a block is free again once `passed` has happened.
class SharedPool {
 public:
  void* take(std::size_t bytes) {
    const std::size_t size = CpuPool::block_bytes(bytes);
    {
      const std::lock_guard lock(mutex_);
      auto& blocks = free_[size];
      if (!blocks.empty()) {
        if (cudaEventQuery(blocks.front().passed) == cudaSuccess) {
          const Block block = blocks.front();
          blocks.pop_front();
          events_.push_back(block.passed);
          return block.memory;
        }
        cudaGetLastError();  // "not ready" is no error of the next launch
      }
    }
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, size, cudaHostAllocDefault), "cudaHostAlloc");
    return memory;
  }
  void give(void* memory, std::size_t bytes, cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    Block block{memory, nullptr};
    if (events_.empty()) {
      if (cudaEventCreateWithFlags(&block.passed, cudaEventDisableTiming) != cudaSuccess) return;  // lost, not misused
    } else {
      block.passed = events_.back();
      events_.pop_back();
    }
    cudaEventRecord(block.passed, stream);
    free_[CpuPool::block_bytes(bytes)].push_back(block);
  }

 private:
  struct Block {
    void* memory;
    cudaEvent_t passed;
  };
  std::mutex mutex_;
  std::map<std::size_t, std::deque<Block>> free_;
  std::vector<cudaEvent_t> events_;
};

/// Whether this thread launches on the second stream.
inline thread_local bool on_side = false;

/// What this process has of its device. Made when it is first used, and never destroyed: tensors with static lifetime
/// may outlive any order.
struct Context {
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

  int number = 0;
  unsigned processors = 0;
  cudaStream_t main = nullptr, side = nullptr;
  cudaEvent_t forked = nullptr, joined = nullptr;
  /// A place on the second stream.
  struct Mark {
    cudaEvent_t passed = nullptr;
    bool set = false;  ///< since the last join
  };
  std::map<std::size_t, Mark> marks;
  bool side_runs = false;  ///< something that `main` has not waited for
  bool records = false;    ///< what is launched is kept for a graph
  cublasLtHandle_t blas = nullptr;
  SharedPool shared;
  std::atomic<std::uint64_t> launches{0}, waits{0};
  std::atomic<std::size_t> live{0}, peak{0};

  static Context& get() {
    static Context* const context = new Context;
    return *context;
  }

  cudaStream_t stream() const { return on_side ? side : main; }
  void* workspace() const { return workspaces_[on_side]; }
  bool recording() const { return records; }
  /// Throws `Error` while launches are recorded.
  void require_running(const char* what) const {
    calm::detail::require(!records, [&] {
      return "calm::cuda: " + std::string(what) + " while launches are recorded: it would not happen again";
    });
  }

  /// Launches so far, each with what was recorded behind it; null: nobody asks.
  using Profile = std::vector<std::pair<std::string, cudaEvent_t>>;
  std::unique_ptr<Profile> profile;
  void mark(const std::string& kernel);

  void count_live(std::size_t bytes) {
    const std::size_t now = live.fetch_add(bytes) + bytes;
    std::size_t most = peak.load();
    while (now > most && !peak.compare_exchange_weak(most, now)) {
    }
  }

 private:
  Context() {
    check(cudaGetDevice(&number), "cudaGetDevice");
    int count = 0;
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, number), "cudaDeviceGetAttribute");
    processors = static_cast<unsigned>(count);
    for (cudaStream_t* s : {&main, &side}) {
      check(cudaStreamCreateWithFlags(s, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    }
    for (cudaEvent_t* e : {&forked, &joined}) {
      check(cudaEventCreateWithFlags(e, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    }
    cudaMemPool_t pool = nullptr;
    check(cudaDeviceGetDefaultMemPool(&pool, number), "cudaDeviceGetDefaultMemPool");
    std::uint64_t keep = ~std::uint64_t{0};  // what is given back stays with the process, for the next step
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");
    check(cublasLtCreate(&blas), "cublasLtCreate");
    for (void*& space : workspaces_) check(cudaMalloc(&space, workspace_bytes), "cudaMalloc of a products' workspace");
  }

  void* workspaces_[2] = {};  ///< of each stream
};

cudaStream_t stream() { return Context::get().stream(); }
unsigned processors() { return Context::get().processors; }

void launched(const char* kernel, std::size_t items) {
  Context& context = Context::get();
  ++context.launches;
  if (context.profile) context.mark(kernel);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) [[unlikely]]
    fail("launching " + std::string(kernel) + " on " + std::to_string(items) + " items", error);
}

/// A kernel that stands for all others: whether this program's code runs on the device.
static __global__ void probe() {}

bool available(std::string* why_not) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  cudaFuncAttributes attributes{};
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, probe);
  if (error != cudaSuccess && why_not) *why_not = cudaGetErrorString(error);
  cudaGetLastError();
  return error == cudaSuccess;
}

DeviceInfo device() {
  DeviceInfo info;
  info.number = Context::get().number;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, info.number), "cudaGetDeviceProperties");
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  info.processors = properties.multiProcessorCount;
  check(cudaMemGetInfo(&info.free, &info.memory), "cudaMemGetInfo");
  return info;
}

void* take(std::size_t bytes) {
  Context& context = Context::get();
  void* memory = nullptr;
  const cudaError_t error = cudaMallocAsync(&memory, std::max<std::size_t>(bytes, 1), context.stream());
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, all = 0;
    cudaMemGetInfo(&free, &all);
    throw Error("calm::cuda: out of memory: " + std::to_string(bytes) + " bytes were asked for; tensors hold " +
                std::to_string(context.live.load()) + " of the device's " + std::to_string(all) + ", and " +
                std::to_string(free) + " are free; use a smaller batch or a shorter context");
  }
  check(error, "cudaMallocAsync");
  context.count_live(bytes);
  return memory;
}
void give(void* memory, std::size_t bytes) noexcept {
  Context& context = Context::get();
  context.live -= bytes;
  cudaFreeAsync(memory, context.stream());  // an error of before shows at the next launch
}
void* take_shared(std::size_t bytes) {
  Context::get().require_running("memory that the host writes is asked for");
  return Context::get().shared.take(bytes);
}
void give_shared(void* memory, std::size_t bytes) noexcept {
  Context& context = Context::get();
  if (context.recording()) return;  // what is recorded reads it each time
  context.shared.give(memory, bytes, context.stream());
}

Use use() { return {Context::get().live.load(), Context::get().peak.load()}; }
void reset_peak() { Context::get().peak = Context::get().live.load(); }
std::uint64_t launches() { return Context::get().launches.load(); }
std::uint64_t waits() { return Context::get().waits.load(); }
void synchronize() {
  Context& context = Context::get();
  context.require_running("the host waits");
  ++context.waits;
  if (context.side_runs) check(cudaStreamSynchronize(context.side), "cudaStreamSynchronize");
  check(cudaStreamSynchronize(context.main), "cudaStreamSynchronize");
}

}  // namespace calm::cuda

namespace calm::kernel {

/// By way of memory that the device reads, so the host need not wait: `from` may change at once.
void copy_from_host(Cuda, std::size_t bytes, const void* from, void* to) {
  constexpr std::size_t part = std::size_t{4} << 20, room = 16 * part;
  cuda::Context::get().require_running("a copy from the host");
  for (std::size_t at = 0; at < bytes; at += part) {
    if (at > 0 && at % room == 0) cuda::synchronize();
    const std::size_t n = std::min(part, bytes - at);
    void* const staged = cuda::take_shared(n);
    std::memcpy(staged, static_cast<const char*>(from) + at, n);
    const cudaError_t error =
        cudaMemcpyAsync(static_cast<char*>(to) + at, staged, n, cudaMemcpyHostToDevice, cuda::stream());
    cuda::give_shared(staged, n);
    cuda::check(error, "cudaMemcpyAsync to device");
  }
}
void copy_to_host(Cuda, std::size_t bytes, const void* from, void* to) {
  if (bytes == 0) return;
  cuda::Context::get().require_running("a copy to the host");
  cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cuda::stream()), "cudaMemcpyAsync to the host");
  cuda::synchronize();
}

}  // namespace calm::kernel
