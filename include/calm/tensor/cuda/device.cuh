/// \file  The GPU itself: memory, copies, the stream, and products through cuBLASLt.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <string>
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

/// What this process has of its device. Made when it is first used, and never destroyed: tensors with static lifetime
/// may outlive any order.
struct Context {
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

  int number = 0;
  cudaStream_t stream = nullptr;
  cublasLtHandle_t blas = nullptr;
  void* workspace = nullptr;
  SharedPool shared;
  std::atomic<std::uint64_t> launches{0};
  std::atomic<std::size_t> live{0}, peak{0};

  static Context& get() {
    static Context* const context = new Context;
    return *context;
  }

  void count_live(std::size_t bytes) {
    const std::size_t now = live.fetch_add(bytes) + bytes;
    std::size_t most = peak.load();
    while (now > most && !peak.compare_exchange_weak(most, now)) {
    }
  }

 private:
  Context() {
    check(cudaGetDevice(&number), "cudaGetDevice");
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    cudaMemPool_t pool = nullptr;
    check(cudaDeviceGetDefaultMemPool(&pool, number), "cudaDeviceGetDefaultMemPool");
    std::uint64_t keep = ~std::uint64_t{0};  // what is given back stays with the process, for the next step
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");
    check(cublasLtCreate(&blas), "cublasLtCreate");
    check(cudaMalloc(&workspace, workspace_bytes), "cudaMalloc of the products' workspace");
  }
};

cudaStream_t stream() { return Context::get().stream; }

void launched(const char* kernel, std::size_t items) {
  ++Context::get().launches;
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
  const cudaError_t error = cudaMallocAsync(&memory, std::max<std::size_t>(bytes, 1), context.stream);
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
  cudaFreeAsync(memory, context.stream);  // an error of before shows at the next launch
}
void* take_shared(std::size_t bytes) { return Context::get().shared.take(bytes); }
void give_shared(void* memory, std::size_t bytes) noexcept {
  Context& context = Context::get();
  context.shared.give(memory, bytes, context.stream);
}

Use use() { return {Context::get().live.load(), Context::get().peak.load()}; }
void reset_peak() { Context::get().peak = Context::get().live.load(); }
std::uint64_t launches() { return Context::get().launches.load(); }
void synchronize() { check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize"); }

// --- Products --------------------------------------------------------------------------------------------------------

/// What cuBLASLt is asked for. A row-major matrix is to it a column-major one, transposed; so it multiplies the
/// operands in the opposite order: Cᵀ = op(B)ᵀ · op(A)ᵀ.
struct Product {
  cudaDataType_t type, result;
  cublasComputeType_t compute;
  cudaDataType_t scale;
  kernel::Op op_a, op_b;
  bool accumulate;
  std::size_t m, n, k, a_stride, b_stride, c_stride;
  std::uint32_t alignment;  ///< of all three matrices, in bytes

  friend auto operator<=>(const Product&, const Product&) = default;

  std::string text() const {
    const auto op = [](kernel::Op o) { return o == kernel::Op::none ? "" : "ᵀ"; };
    return std::string("cublasLt, A") + op(op_a) + " · B" + op(op_b) + ", " + std::to_string(m) + " × " +
           std::to_string(n) + " × " + std::to_string(k);
  }
};

/// A product's descriptors and the algorithm that cuBLASLt thinks fastest; made once for each kind of product.
struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

  explicit Plan(const Product& p) {
    const std::string what = p.text();
    const auto order = [](kernel::Op op) { return op == kernel::Op::none ? CUBLAS_OP_N : CUBLAS_OP_T; };
    const cublasOperation_t first_op = order(p.op_b), second_op = order(p.op_a);
    check(cublasLtMatmulDescCreate(&product, p.compute, p.scale), what);
    check(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &first_op, sizeof(first_op)), what);
    check(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSB, &second_op, sizeof(second_op)), what);
    const auto layout = [&](cublasLtMatrixLayout_t& l, cudaDataType_t type, std::size_t rows, std::size_t columns,
                            std::size_t stride) {
      check(cublasLtMatrixLayoutCreate(&l, type, columns, rows, static_cast<std::int64_t>(stride)), what);
    };
    layout(first, p.type, p.op_b == kernel::Op::none ? p.k : p.n, p.op_b == kernel::Op::none ? p.n : p.k, p.b_stride);
    layout(second, p.type, p.op_a == kernel::Op::none ? p.m : p.k, p.op_a == kernel::Op::none ? p.k : p.m, p.a_stride);
    layout(result, p.result, p.m, p.n, p.c_stride);
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), what);
    const std::size_t workspace = Context::workspace_bytes;
    check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                               sizeof(workspace)), what);
    for (const auto side : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      check(cublasLtMatmulPreferenceSetAttribute(preference, side, &p.alignment, sizeof(p.alignment)), what);
    }
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(Context::get().blas, product, first, second, result, result, preference, 1,
                                         &found, &count), what);
    cublasLtMatmulPreferenceDestroy(preference);
    calm::detail::require(count > 0, [&] { return "calm::cuda: " + what + ": no algorithm for it"; });
    algorithm = found.algo;
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
};

inline const Plan& plan_for(const Product& p) {
  static std::mutex mutex;
  static auto* const plans = new std::map<Product, Plan>;
  const std::lock_guard lock(mutex);
  const auto place = plans->find(p);
  return place != plans->end() ? place->second : plans->try_emplace(p, p).first->second;
}

/// The largest power of two, up to 256, that divides all three addresses: the fast algorithms want 16 at least.
inline std::uint32_t alignment_of(const void* a, const void* b, const void* c) {
  const auto bits = reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b) |
                    reinterpret_cast<std::uintptr_t>(c) | 256;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

template <class A>
void multiply(const Product& p, A alpha, const void* a, const void* b, void* c) {
  if (p.m == 0 || p.n == 0) return;
  Context& context = Context::get();
  const Plan& plan = plan_for(p);
  const A beta = p.accumulate ? A(1) : A(0);
  check(cublasLtMatmul(context.blas, plan.product, &alpha, b, plan.first, a, plan.second, &beta, c, plan.result, c,
                       plan.result, &plan.algorithm, context.workspace, Context::workspace_bytes, context.stream),
        p.text());
  ++context.launches;
}

}  // namespace calm::cuda

namespace calm::kernel {

void copy_from_host(Cuda, std::size_t bytes, const void* from, void* to) {
  if (bytes == 0) return;
  cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, cuda::stream()), "cudaMemcpyAsync to device");
  cuda::synchronize();
}
void copy_to_host(Cuda, std::size_t bytes, const void* from, void* to) {
  if (bytes == 0) return;
  cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cuda::stream()), "cudaMemcpyAsync to the host");
  cuda::synchronize();
}

#define CALM_GEMM(A, T, R, TYPE, RESULT, COMPUTE, SCALE)                                                           \
  void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, A alpha, MatrixRef<const T> a,    \
            MatrixRef<const T> b, bool accumulate, MatrixRef<R> c) {                                               \
    cuda::multiply<A>({TYPE, RESULT, COMPUTE, SCALE, op_a, op_b, accumulate, m, n, k, a.stride, b.stride, c.stride, \
                       cuda::alignment_of(a.data, b.data, c.data)},                                                \
                      alpha, a.data, b.data, c.data);                                                              \
  }
CALM_GEMM(float, float, float, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F)
CALM_GEMM(double, double, double, CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F, CUDA_R_64F)
CALM_GEMM(float, bf16, bf16, CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUDA_R_32F)
CALM_GEMM(float, bf16, float, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F)
#undef CALM_GEMM

}  // namespace calm::kernel
