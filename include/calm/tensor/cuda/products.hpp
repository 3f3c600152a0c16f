/// \file  How the GPU's products are made: what a program may say of them and learn about them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "calm/tensor/arguments.hpp"

namespace calm::cuda {

namespace detail {
inline thread_local int tensor_float32_scopes = 0;
}

/// While one lives, products of float matrices that this thread launches round their operands to TF32 (10 bits of
/// fraction; sums stay float), which tensor cores multiply about ten times as fast. Without it they are exact.
class TensorFloat32 {
 public:
  TensorFloat32() { ++detail::tensor_float32_scopes; }
  TensorFloat32(const TensorFloat32&) = delete;
  TensorFloat32& operator=(const TensorFloat32&) = delete;
  ~TensorFloat32() { --detail::tensor_float32_scopes; }

  static bool here() { return detail::tensor_float32_scopes > 0; }
};

/// Whether cuBLASLt is asked to do what follows a product of that shape. One row is a product of our own. Its GELU is
/// the one by tanh, with an accuracy that is said nowhere, so it serves 16-bit results alone; GELU's operand must have
/// rows of a multiple of 8 elements (CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD in cublasLt.h).
template <class T>
constexpr bool may_fuse(const kernel::Epilogue<T>& e, std::size_t m, std::size_t n, std::size_t k) {
  if (std::is_same_v<T, double> || m <= 1 || n == 0 || k == 0) return false;
  if (e.after != kernel::After::activation && e.after != kernel::After::activation_backward) return true;
  return sizeof(T) == 2 && e.kind == kernel::Activation::gelu_tanh && n % 8 == 0;
}

/// A kind of product (operations, types, extents, strides, alignment) and the algorithm of cuBLASLt that serves it.
struct ProductChoice {
  std::string product;
  std::array<std::uint64_t, 8> algorithm;  ///< cublasLtMatmulAlgo_t
};

/// What was chosen by timing so far. On a kind's first use the algorithms that cuBLASLt proposes are timed, and the
/// fastest is taken that gives the bits of the one that it puts first, so timing never changes a result.
std::vector<ProductChoice> product_choices();
/// Takes these without timing, for products that have not been made yet; they are for one GPU and one library.
void choose_products(std::vector<ProductChoice> choices);
/// What choices hold for: the GPU, its driver and cuBLASLt.
std::string product_maker();

}  // namespace calm::cuda
