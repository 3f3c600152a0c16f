/// \file  How the GPU's products are made: what a program may say of them and learn about them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

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
