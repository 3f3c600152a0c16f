/// \file  The GPU's products through cuBLASLt: descriptors and the best algorithm, once for each kind of product.
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/tensor/cuda/one_row.cuh"
#include "calm/tensor/cuda/product_timing.cuh"

namespace calm::cuda {

/// Below so many FLOPs, what is gained does not pay for timing.
inline constexpr double worth_timing = 1e9;

/// False, and nothing done, where cuBLASLt has no algorithm for it.
template <class A, class T, class R>
bool multiply(const Product& p, A alpha, const T* a, const T* b, R* c, const R* read = nullptr, R* second = nullptr) {
  Plans& plans = Plans::get();
  const std::lock_guard lock(plans.mutex);
  Plan& plan = plans[p];
  if (!plan.served) return false;
  const Multiplication<A, T, R> m{p, alpha, a, b, c, read};
  if (!plan.others.empty() && p.flops() >= worth_timing && !Context::get().recording()) {
    try {
      time_algorithms(m, plan);
    } catch (const Error&) {  // no room for a second result: as it was proposed
      plan.others.clear();
    }
  }
  if (const auto status = m.run(plan, plan.algorithm, c, second); status != CUBLAS_STATUS_SUCCESS) [[unlikely]] {
    if (p.epilogue != CUBLASLT_EPILOGUE_DEFAULT &&
        (status == CUBLAS_STATUS_INVALID_VALUE || status == CUBLAS_STATUS_NOT_SUPPORTED))
      return plan.served = false;  // nothing was launched
    check(status, p.text());
  }
  Context& context = Context::get();
  ++context.launches;
  if (context.profile) context.mark(p.text());
  return true;
}

/// The largest power of two, up to 256, that divides all addresses: the fast algorithms want 16 at least.
inline std::uint32_t alignment_of(auto*... data) {
  const auto bits = (reinterpret_cast<std::uintptr_t>(data) | ...) | 256;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

template <class T>
inline constexpr cudaDataType_t data_type = CUDA_R_32F;
template <>
inline constexpr cudaDataType_t data_type<double> = CUDA_R_64F;
template <>
inline constexpr cudaDataType_t data_type<bf16> = CUDA_R_16BF;
template <>
inline constexpr cudaDataType_t data_type<f16> = CUDA_R_16F;

template <class T>
cublasComputeType_t compute_type() {
  if (std::is_same_v<T, double>) return CUBLAS_COMPUTE_64F;
  return std::is_same_v<T, float> && TensorFloat32::here() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

/// By cuBLASLt's names, to which A is the second operand.
template <class T>
cublasLtEpilogue_t epilogue_of(const kernel::Epilogue<T>& e) {
  switch (e.after) {
    case kernel::After::bias: return CUBLASLT_EPILOGUE_BIAS;
    case kernel::After::activation: return e.before ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS;
    case kernel::After::activation_backward: return e.sums ? CUBLASLT_EPILOGUE_DGELU_BGRAD : CUBLASLT_EPILOGUE_DGELU;
    case kernel::After::sums_of_a: return CUBLASLT_EPILOGUE_BGRADB;
    default: return CUBLASLT_EPILOGUE_BGRADA;
  }
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

#define CALM_GEMM(A, T, R)                                                                                       \
  void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, A alpha, MatrixRef<const T> a,  \
            MatrixRef<const T> b, bool accumulate, MatrixRef<R> c) {                                             \
    if (m == 0 || n == 0 || cuda::no_terms(m, n, k, accumulate, c)) return;                                      \
    if (cuda::one_row(op_a, op_b, m, n, k, b.stride, alpha, a.data, b.data, accumulate, c.data)) return;         \
    const cuda::Product p{cuda::data_type<T>, cuda::data_type<R>, cuda::compute_type<T>(), cuda::data_type<A>,   \
                          op_a, op_b, accumulate, m, n, k, a.stride, b.stride, c.stride,                         \
                          cuda::alignment_of(a.data, b.data, c.data)};                                           \
    const bool served = cuda::multiply(p, alpha, a.data, b.data, c.data);                                        \
    calm::detail::require(served, [&] { return "calm::cuda: " + p.text() + ": no algorithm for it"; });          \
  }
CALM_GEMM(float, float, float)
CALM_GEMM(double, double, double)
CALM_GEMM(float, bf16, bf16)
CALM_GEMM(float, bf16, float)
CALM_GEMM(float, f16, f16)
#undef CALM_GEMM

template <class T>
bool fused_gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, MatrixRef<const T> a,
                MatrixRef<const T> b, bool accumulate, MatrixRef<T> c, const Epilogue<T>& e) {
  if (!cuda::may_fuse(e, m, n, k)) return false;
  using A = Accumulator<T>;
  const bool reads_bias = e.after == After::bias || e.after == After::activation;
  const bool writes_before = e.after == After::activation;
  return cuda::multiply(
      cuda::Product{cuda::data_type<T>, cuda::data_type<T>, cuda::compute_type<T>(), cuda::data_type<A>, op_a, op_b,
                    accumulate, m, n, k, a.stride, b.stride, c.stride,
                    cuda::alignment_of(a.data, b.data, c.data, e.bias, e.before, e.sums), cuda::epilogue_of(e)},
      A(1), a.data, b.data, c.data, reads_bias ? e.bias : e.before, writes_before ? e.before : e.sums);
}

#define CALM_FUSED_GEMM(T)                                                                                            \
  template bool fused_gemm<T>(Cuda, Op, Op, std::size_t, std::size_t, std::size_t, MatrixRef<const T>,                \
                              MatrixRef<const T>, bool, MatrixRef<T>, const Epilogue<T>&);
CALM_FOR_PRODUCT_TYPES(CALM_FUSED_GEMM)
#undef CALM_FUSED_GEMM

}  // namespace calm::kernel
