/// \file  Kinds of products and how cuBLASLt serves each: descriptors and algorithms.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "calm/tensor/cuda/device.cuh"
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
  std::uint32_t alignment;  ///< of all that it reads and writes, in bytes
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;

  friend auto operator<=>(const Product&, const Product&) = default;

  /// Whether its epilogue has these bits of another.
  bool does(cublasLtEpilogue_t part) const { return (epilogue & part) == part; }
  /// The elements of its second result: GELU's operand, or the sums of a bias gradient.
  std::size_t second() const {
    if (does(CUBLASLT_EPILOGUE_GELU_AUX)) return m * n;
    if (does(CUBLASLT_EPILOGUE_BGRADB)) return m;
    return does(CUBLASLT_EPILOGUE_BGRADA) || does(CUBLASLT_EPILOGUE_DGELU_BGRAD) ? n : 0;
  }

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
                                     b_stride, c_stride, static_cast<std::size_t>(alignment),
                                     static_cast<std::size_t>(epilogue)}) {
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
  bool served = false;            ///< whether cuBLASLt has an algorithm
  std::vector<Algorithm> others;  ///< not timed yet
  int trials = 0;                 ///< of timing, with operands that say nothing

  explicit Plan(const Product& p) {
    const std::string what = p.text();
    const auto order = [](kernel::Op op) { return op == kernel::Op::none ? CUBLAS_OP_N : CUBLAS_OP_T; };
    const cublasOperation_t first_op = order(p.op_b), second_op = order(p.op_a);
    check(cublasLtMatmulDescCreate(&product, p.compute, p.scale), what);
    set(p, CUBLASLT_MATMUL_DESC_TRANSA, first_op);
    set(p, CUBLASLT_MATMUL_DESC_TRANSB, second_op);
    set(p, CUBLASLT_MATMUL_DESC_EPILOGUE, p.epilogue);
    // What is proposed depends on how these are aligned, and nothing is read there.
    const auto* const nowhere = reinterpret_cast<const void*>(std::uintptr_t{p.alignment});
    attach(p, nowhere, nowhere);
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

  /// Says where the vector and the matrix of the epilogue are: a bias or its gradient, and GELU's operand.
  void attach(const Product& p, const void* vector, const void* matrix) const {
    const bool has_vector = p.epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB);
    if (has_vector || p.does(CUBLASLT_EPILOGUE_DGELU_BGRAD)) set(p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);
    if (!p.does(CUBLASLT_EPILOGUE_GELU_AUX) && !p.does(CUBLASLT_EPILOGUE_DGELU)) return;
    set(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, matrix);
    set(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, static_cast<std::int64_t>(p.n));
  }

 private:
  void set(const Product& p, cublasLtMatmulDescAttributes_t attribute, const auto& value) const {
    const cublasStatus_t status = cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof(value));
    if (status != CUBLAS_STATUS_SUCCESS) check(status, p.text());
  }
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
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        Context::get().blas, product, first, second, result, result, preference, most_algorithms, found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    // What it does not know of an epilogue it may call invalid.
    const bool refused = status == CUBLAS_STATUS_NOT_SUPPORTED ||
                         (status == CUBLAS_STATUS_INVALID_VALUE && p.epilogue != CUBLASLT_EPILOGUE_DEFAULT);
    if (!refused) check(status, what);
    served = status == CUBLAS_STATUS_SUCCESS && count > 0;
    if (!served) return;
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

}  // namespace calm::cuda
