// Ceilings, and products in the shapes of a model as wide as Gemma 2B, each beside the best of all algorithms that
// cuBLASLt has for it.

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "calm/tensor.hpp"
#include "calm/tensor/cuda/products.hpp"
#include "measure.hpp"
#include "values.hpp"

namespace {

using calm::bf16;
using calm::Cuda;
using calm::kernel::Op;
using speed::Flat;
using speed::some;

void copy_ceiling() {
  const std::size_t bytes = std::size_t{1} << 30;
  auto from = some<float>(bytes / 4), to = some<float>(bytes / 4);
  const double seconds = speed::seconds_of([&] {
    cudaMemcpyAsync(to.mutable_data(), from.data(), bytes, cudaMemcpyDeviceToDevice, nullptr);
    cudaStreamSynchronize(nullptr);
  });
  speed::report("ceiling: copy of 1 GiB", seconds, 2 * static_cast<double>(bytes) * 1e-12, "TB/s", 0);
}

/// A product of bf16 matrices, C = op(A) · op(B).
struct Product {
  Op a_op, b_op;
  std::size_t m, n, k;
  std::size_t a_stride() const { return a_op == Op::transpose ? m : k; }
  std::size_t b_stride() const { return b_op == Op::transpose ? k : n; }
  double tera() const { return 2e-12 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
};

/// The least seconds of all algorithms that cuBLASLt proposes, whatever their bits; 0 if it refuses the product.
double best_of_all(const Product& p, const bf16* a, const bf16* b, bf16* c) {
  constexpr int most = 48;
  const std::size_t workspace_bytes = std::size_t{32} << 20;
  auto workspace = some<float>(workspace_bytes / 4);
  cublasLtHandle_t blas = nullptr;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtCreate(&blas);
  cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const auto turned = [](Op op) { return op == Op::transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const cublasOperation_t first_op = turned(p.b_op), second_op = turned(p.a_op);
  cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &first_op, sizeof(first_op));
  cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSB, &second_op, sizeof(second_op));
  const auto layout = [](cublasLtMatrixLayout_t& l, bool flip, std::size_t rows, std::size_t cols, std::size_t stride) {
    cublasLtMatrixLayoutCreate(&l, CUDA_R_16BF, flip ? rows : cols, flip ? cols : rows,
                               static_cast<std::int64_t>(stride));
  };
  layout(first, p.b_op == Op::transpose, p.k, p.n, p.b_stride());
  layout(second, p.a_op == Op::transpose, p.m, p.k, p.a_stride());
  layout(result, false, p.m, p.n, p.n);
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                       sizeof(workspace_bytes));
  cublasLtMatmulHeuristicResult_t found[most];
  int count = 0;
  cublasLtMatmulAlgoGetHeuristic(blas, product, first, second, result, result, preference, most, found, &count);
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  const float one = 1, zero = 0;
  float least = std::numeric_limits<float>::infinity();
  calm::cuda::synchronize();
  for (int i = 0; i < count; ++i) {
    for (int round = 0; round < 4; ++round) {
      cudaEventRecord(begin, nullptr);
      const auto status = cublasLtMatmul(blas, product, &one, b, first, a, second, &zero, c, result, c, result,
                                         &found[i].algo, workspace.mutable_data(), workspace_bytes, nullptr);
      cudaEventRecord(end, nullptr);
      float milliseconds = 0;
      cudaEventSynchronize(end);
      cudaEventElapsedTime(&milliseconds, begin, end);
      if (status == CUBLAS_STATUS_SUCCESS && round > 0) least = std::min(least, milliseconds);
    }
  }
  cublasLtDestroy(blas);
  return count > 0 ? 1e-3 * static_cast<double>(least) : 0;
}

/// The product as calm makes it. `beside_best`: its ceiling is the best algorithm's rate.
void product(const std::string& name, const Product& p, bool beside_best) {
  const auto a = some<bf16>(p.m * p.k), b = some<bf16>(p.k * p.n);
  auto c = some<bf16>(p.m * p.n);
  const auto once = [&] {
    calm::kernel::gemm(Cuda{}, p.a_op, p.b_op, p.m, p.n, p.k, 1.0f, {a.data(), p.a_stride()}, {b.data(), p.b_stride()},
                       false, {c.mutable_data(), p.n});
  };
  once();
  const double best = beside_best ? best_of_all(p, a.data(), b.data(), c.mutable_data()) : 0;
  speed::report(name.c_str(), speed::seconds_of(once), p.tera(), "TFLOP/s", best > 0 ? p.tera() / best : 0);
}

/// A product and what follows it, as one kernel and in turn.
void product_then(const std::string& name, const Product& p, calm::kernel::Epilogue<bf16> e) {
  using calm::kernel::After;
  const auto a = some<bf16>(p.m * p.k), b = some<bf16>(p.k * p.n), bias = some<bf16>(p.n);
  auto c = some<bf16>(p.m * p.n), before = some<bf16>(p.m * p.n), sums = some<bf16>(std::max(p.m, p.n));
  e.kind = calm::kernel::Activation::gelu_tanh;
  e.bias = bias.data();
  e.before = before.mutable_data();
  e.sums = sums.mutable_data();
  bf16* const to = c.mutable_data();
  bool fused = false;
  const double together = speed::seconds_of([&] {
    fused = calm::kernel::fused_gemm(Cuda{}, p.a_op, p.b_op, p.m, p.n, p.k, {a.data(), p.a_stride()},
                                     {b.data(), p.b_stride()}, false, {to, p.n}, e);
  });
  if (fused) speed::report((name + ", one kernel").c_str(), together, p.tera(), "TFLOP/s", 0);
  const double apart = speed::seconds_of([&] {
    bf16* const result = e.after == After::activation ? e.before : to;
    calm::kernel::gemm(Cuda{}, p.a_op, p.b_op, p.m, p.n, p.k, 1.0f, {a.data(), p.a_stride()}, {b.data(), p.b_stride()},
                       false, {result, p.n});
    if (e.after == After::activation) {
      calm::kernel::add_scaled(Cuda{}, p.m * p.n, p.n, result, e.bias, 1, result);
      calm::kernel::activate(Cuda{}, e.kind, p.m * p.n, result, to);
      return;
    }
    if (e.after == After::activation_backward)
      calm::kernel::activate_backward(Cuda{}, e.kind, p.m * p.n, e.before, to, to, false);
    const std::size_t cols = e.after == After::sums_of_a ? p.m : p.n;
    calm::kernel::fill(Cuda{}, cols, bf16{}, e.sums);
    calm::kernel::sum_rows(Cuda{}, e.after == After::sums_of_a ? p.k : p.m, cols,
                           e.after == After::sums_of_a ? a.data() : to, e.sums);
  });
  speed::report((name + ", in turn").c_str(), apart, p.tera(), "TFLOP/s", 0);
}

void fp32_product(const char* name) {
  const std::size_t n = 8192;
  const auto a = some<float>(n * n), b = some<float>(n * n);
  auto c = some<float>(n * n);
  const double seconds = speed::seconds_of([&] {
    calm::kernel::gemm(Cuda{}, Op::none, Op::transpose, n, n, n, 1.0f, {a.data(), n}, {b.data(), n}, false,
                       {c.mutable_data(), n});
  });
  speed::report(name, seconds, Product{Op::none, Op::transpose, n, n, n}.tera(), "TFLOP/s", 0);
}

}  // namespace

void measure_ceilings() {
  copy_ceiling();
  product("ceiling: bf16 product, 8192^3", {Op::none, Op::transpose, 8192, 8192, 8192}, true);
}

void measure_products(double memory) {
  constexpr std::size_t tokens = 8 * 2048, hidden = 2048, inner = 16384, narrow = 640;
  product("x W^T, 2048 -> 16384", {Op::none, Op::transpose, tokens, inner, hidden}, true);
  product("x W^T, 16384 -> 2048", {Op::none, Op::transpose, tokens, hidden, inner}, true);
  product("x W^T, 2048 -> 2048", {Op::none, Op::transpose, tokens, hidden, hidden}, true);
  product("x W^T, 2048 -> 256", {Op::none, Op::transpose, tokens, 256, hidden}, true);
  product("x W^T, 640 -> 2048", {Op::none, Op::transpose, tokens, hidden, narrow}, true);
  product("x W^T, 2048 -> 256000, 2048 rows", {Op::none, Op::transpose, 2048, 256000, hidden}, true);
  product("dy W, 16384 -> 2048", {Op::none, Op::none, tokens, hidden, inner}, true);
  product("dy W, 2048 -> 16384", {Op::none, Op::none, tokens, inner, hidden}, true);
  product("dy^T x, 2048 x 2048", {Op::transpose, Op::none, hidden, hidden, tokens}, true);
  product("dy^T x, 2048 x 640", {Op::transpose, Op::none, hidden, narrow, tokens}, true);
  using calm::kernel::After;
  product_then("gelu(x W^T + b), 2048 -> 16384", {Op::none, Op::transpose, tokens, inner, hidden}, {After::activation});
  product_then("dy W * gelu', sums, 2048 -> 16384", {Op::none, Op::none, tokens, inner, hidden},
               {After::activation_backward});
  product_then("dy^T x, sums, 2048 x 2048", {Op::transpose, Op::none, hidden, hidden, tokens}, {After::sums_of_a});
  product("x W^T, 2048 -> 2 x 16384", {Op::none, Op::transpose, tokens, 2 * inner, hidden}, true);
  // Few rows are bound by the weight's bytes. One row has a kernel of calm's own, two go through cuBLASLt.
  for (const std::size_t rows : {1u, 2u, 8u}) {
    const auto w = some<bf16>(inner * hidden), x = some<bf16>(rows * hidden);
    auto y = some<bf16>(rows * inner);
    const double seconds = speed::seconds_of([&] {
      calm::kernel::gemm(Cuda{}, Op::none, Op::transpose, rows, inner, hidden, 1.0f, {x.data(), hidden},
                         {w.data(), hidden}, false, {y.mutable_data(), inner});
    });
    const std::string name = "x W^T, 2048 -> 16384, rows: " + std::to_string(rows);
    speed::report(name.c_str(), seconds, 2e-12 * inner * hidden, "TB/s", memory);
  }
  fp32_product("fp32 product, 8192^3");
  const calm::cuda::TensorFloat32 fast;
  fp32_product("TF32 product, 8192^3");
}
