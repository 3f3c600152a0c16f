/// \file  The GPU's products through cuBLASLt: descriptors and the best algorithm, once for each kind of product.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/cuda/device.cuh"
#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/one_row.cuh"
#include "calm/tensor/cuda/products.hpp"

namespace calm::cuda {

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

  double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
  std::string text() const {
    const auto op = [](kernel::Op o) { return o == kernel::Op::none ? "" : "ᵀ"; };
    return std::string("cublasLt, A") + op(op_a) + " · B" + op(op_b) + ", " + std::to_string(m) + " × " +
           std::to_string(n) + " × " + std::to_string(k);
  }
  /// The whole of it, for records.
  std::string key() const {
    std::string all = text();
    for (const std::size_t number : {static_cast<std::size_t>(type), static_cast<std::size_t>(result),
                                     static_cast<std::size_t>(compute), static_cast<std::size_t>(accumulate), a_stride,
                                     b_stride, c_stride, static_cast<std::size_t>(alignment)}) {
      all += ' ';
      all += std::to_string(number);
    }
    return all;
  }
};

/// With a name, which nvcc wants of what stands in containers.
struct Algorithm : cublasLtMatmulAlgo_t {};

/// A product's descriptors and its algorithm.
struct Plan {
  static constexpr int most_algorithms = 12;

  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  Algorithm algorithm{};
  std::vector<Algorithm> others;  ///< not timed yet
  int trials = 0;                            ///< of timing, with operands that say nothing

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
    propose(p, what);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

 private:
  void propose(const Product& p, const std::string& what) {
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), what);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what_of, const auto& value) {
      check(cublasLtMatmulPreferenceSetAttribute(preference, what_of, &value, sizeof(value)), what);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, Context::workspace_bytes);
    // Parts of a sum are added up in order and in the type of sums, never in that of the result.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    for (const auto side : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(side, p.alignment);
    }
    cublasLtMatmulHeuristicResult_t found[most_algorithms];
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(Context::get().blas, product, first, second, result, result, preference,
                                         most_algorithms, found, &count), what);
    cublasLtMatmulPreferenceDestroy(preference);
    calm::detail::require(count > 0, [&] { return "calm::cuda: " + what + ": no algorithm for it"; });
    algorithm = {found[0].algo};
    for (int i = 1; i < count; ++i) {
      if (found[i].state == CUBLAS_STATUS_SUCCESS) others.push_back({found[i].algo});
    }
  }
};

/// All kinds of products that this process has made, and the choices that it was given.
struct Plans {
  std::mutex mutex;
  std::map<Product, Plan> of;
  std::map<std::string, Algorithm> given;
  std::vector<ProductChoice> timed;

  static Plans& get() {
    static Plans* const plans = new Plans;
    return *plans;
  }

  Plan& operator[](const Product& p) {
    const auto place = of.find(p);
    if (place != of.end()) return place->second;
    Plan& plan = of.try_emplace(p, p).first->second;
    if (const auto choice = given.find(p.key()); choice != given.end()) {
      plan.algorithm = choice->second;
      plan.others.clear();
    }
    return plan;
  }
};

/// found[0] = 1 where an element differs in a bit, found[1] = 1 if elements are not all zero (some are looked at).
template <class Word>
struct CompareBits {
  std::size_t cols, stride;
  const Word *a, *b;
  Index* found;
  CALM_KERNEL void operator()(std::size_t i) const {
    const std::size_t at = i / cols * stride + i % cols;
    if (a[at] != b[at]) found[0] = 1;  // all who write, write the same
    if (i % 61 == 0 && a[at] != 0 && found[1] == 0) found[1] = 1;
  }
};

/// Milliseconds between two points of the stream.
class Stopwatch {
 public:
  Stopwatch() {
    check(cudaEventCreate(&begin_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  void start() { check(cudaEventRecord(begin_, stream()), "cudaEventRecord"); }
  float stop() {
    float milliseconds = 0;
    check(cudaEventRecord(end_, stream()), "cudaEventRecord");
    check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return milliseconds;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// One product: operands and factors.
template <class A, class T, class R>
struct Multiplication {
  const Product& p;
  A alpha;
  const T *a, *b;
  R* c;

  cublasStatus_t run(const Plan& plan, const Algorithm& algorithm, R* to) const {
    Context& context = Context::get();
    const A beta = p.accumulate ? A(1) : A(0);
    return cublasLtMatmul(context.blas, plan.product, &alpha, b, plan.first, a, plan.second, &beta, c, plan.result, to,
                          plan.result, &algorithm, context.workspace(), Context::workspace_bytes, stream());
  }
};

/// Times the proposed algorithms on these operands, into memory of its own; the fastest takes the first one's place if
/// it has its bits. Operands whose product is zero say nothing: then it is tried again with later ones, a few times.
template <class A, class T, class R>
void time_algorithms(const Multiplication<A, T, R>& m, Plan& plan) {
  using Word = std::conditional_t<sizeof(R) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(R) == 4, std::uint32_t, std::uint64_t>>;
  const Product& p = m.p;
  const std::size_t elements = p.m * p.c_stride;
  const Scratch<R> expected(elements), found(elements);
  const Scratch<Index> flags(2);
  const auto compare = [&](const R* to) {
    Index seen[2] = {0, 0};
    kernel::copy_from_host(Cuda{}, sizeof(seen), seen, flags.data());
    each("compare_bits", p.m * p.n,
         CompareBits<Word>{p.n, p.c_stride, reinterpret_cast<const Word*>(expected.data()),
                           reinterpret_cast<const Word*>(to), flags.data()});
    kernel::copy_to_host(Cuda{}, sizeof(seen), flags.data(), seen);
    return std::pair(seen[0] == 0, seen[1] != 0);
  };
  const auto milliseconds = [&](const Algorithm& algorithm) {
    Stopwatch watch;
    float least = std::numeric_limits<float>::infinity();
    for (int i = 0; i < 3; ++i) {
      watch.start();
      m.run(plan, algorithm, found.data());
      least = std::min(least, watch.stop());
    }
    return least;
  };
  check(m.run(plan, plan.algorithm, expected.data()), p.text());
  if (!compare(expected.data()).second && ++plan.trials < 4) return;
  const auto candidates = std::exchange(plan.others, {});
  float least = milliseconds(plan.algorithm);
  for (const Algorithm& candidate : candidates) {
    if (m.run(plan, candidate, found.data()) != CUBLAS_STATUS_SUCCESS || !compare(found.data()).first) continue;
    if (const float time = milliseconds(candidate); time < 0.98f * least) {
      least = time;
      plan.algorithm = candidate;
    }
  }
  ProductChoice choice{p.key(), {}};
  static_assert(sizeof(choice.algorithm) == sizeof(plan.algorithm));
  std::memcpy(&choice.algorithm, &plan.algorithm, sizeof(plan.algorithm));
  Plans::get().timed.push_back(std::move(choice));
}

/// Below so many FLOPs, what is gained does not pay for timing.
inline constexpr double worth_timing = 1e9;

template <class A, class T, class R>
void multiply(const Product& p, A alpha, const T* a, const T* b, R* c) {
  if (p.m == 0 || p.n == 0) return;
  if (one_row(p.op_a, p.op_b, p.m, p.n, p.k, p.b_stride, alpha, a, b, p.accumulate, c)) return;
  Plans& plans = Plans::get();
  const std::lock_guard lock(plans.mutex);
  Plan& plan = plans[p];
  const Multiplication<A, T, R> m{p, alpha, a, b, c};
  if (!plan.others.empty() && p.flops() >= worth_timing && !Context::get().recording()) {
    try {
      time_algorithms(m, plan);
    } catch (const Error&) {  // no room for a second result: as it was proposed
      plan.others.clear();
    }
  }
  check(m.run(plan, plan.algorithm, c), p.text());
  Context& context = Context::get();
  ++context.launches;
  if (context.profile) context.mark(p.text());
}

/// The largest power of two, up to 256, that divides all three addresses: the fast algorithms want 16 at least.
inline std::uint32_t alignment_of(const void* a, const void* b, const void* c) {
  const auto bits = reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b) |
                    reinterpret_cast<std::uintptr_t>(c) | 256;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

std::vector<ProductChoice> product_choices() {
  Plans& plans = Plans::get();
  const std::lock_guard lock(plans.mutex);
  return plans.timed;
}
void choose_products(std::vector<ProductChoice> choices) {
  Plans& plans = Plans::get();
  const std::lock_guard lock(plans.mutex);
  for (ProductChoice& choice : choices) {
    std::memcpy(&plans.given[choice.product], &choice.algorithm, sizeof(choice.algorithm));
    plans.timed.push_back(std::move(choice));
  }
}
std::string product_maker() {
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  std::string all = device().name;
  all += ", driver ";
  all += std::to_string(driver);
  all += ", cuBLASLt ";
  all += std::to_string(cublasLtGetVersion());
  return all;
}

}  // namespace calm::cuda

namespace calm::kernel {

#define CALM_GEMM(A, T, R, TYPE, RESULT, COMPUTE, SCALE)                                                            \
  void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, A alpha, MatrixRef<const T> a,     \
            MatrixRef<const T> b, bool accumulate, MatrixRef<R> c) {                                                \
    cuda::multiply<A>({TYPE, RESULT, COMPUTE, SCALE, op_a, op_b, accumulate, m, n, k, a.stride, b.stride, c.stride, \
                       cuda::alignment_of(a.data, b.data, c.data)},                                                 \
                      alpha, a.data, b.data, c.data);                                                               \
  }
CALM_GEMM(float, float, float, CUDA_R_32F, CUDA_R_32F,
          cuda::TensorFloat32::here() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F)
CALM_GEMM(double, double, double, CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F, CUDA_R_64F)
CALM_GEMM(float, bf16, bf16, CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUDA_R_32F)
CALM_GEMM(float, bf16, float, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F)
#undef CALM_GEMM

}  // namespace calm::kernel
