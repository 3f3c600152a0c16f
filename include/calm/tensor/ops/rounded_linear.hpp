/// \file  Matrix product with a weight, both rounded to bf16 as they are multiplied, and its gradients.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/rounded_product.hpp"
#include "calm/tensor/ops/linear.hpp"

namespace calm {

namespace detail {

/// In the place of PlainProduct.
struct RoundedProduct {
  static void gemm(Cpu device, kernel::Op op_a, kernel::Op op_b, std::size_t m, std::size_t n, std::size_t k,
                   kernel::MatrixRef<const float> a, kernel::MatrixRef<const float> b, bool add,
                   kernel::MatrixRef<float> c) {
    kernel::rounded_gemm(device, op_a, op_b, m, n, k, a, b, add, c);
  }
};

}  // namespace detail

/// y = x · Wᵀ on the host, in float, each operand rounded to bf16 as it enters the product, and in those of the
/// gradients: what torch.autocast makes of a linear layer, but that all results and sums are in float. At most 4 rows
/// of y are not rounded.   x: [..., In], W: [Out, In] -> y: [..., Out]
template <Operand X, Operand W>
auto rounded_linear(const X& x, const W& w) {
  using In = ValueOf<X>;
  using Weight = ValueOf<W>;
  constexpr bool fits = same_kind<In, Weight> && Weight::rank == 2 &&
                        std::is_same_v<typename In::value_type, float> && std::is_same_v<typename In::device, Cpu> &&
                        std::is_same_v<LastAxisOf<In>, LastAxisOf<Weight>>;
  static_assert(fits, "calm::rounded_linear: input and weight must be in float on the host, the weight [Out, In] with "
                      "the input's last axis");
  if constexpr (fits) return detail::multiplied<detail::RoundedProduct>(x, w);
}

}  // namespace calm
