// Operands on two devices meet only after an explicit copy.
// error: calm::linear: input and weight are on different devices
#include "calm/tensor/ops/linear.hpp"

struct Npu {};  // a second device with kernels, so that tensors on it exist
template <>
inline constexpr bool calm::has_kernels<Npu> = true;

struct Hidden {
  static constexpr std::size_t extent = 4;
};

#ifdef CALM_MUST_NOT_COMPILE
using Elsewhere = Npu;
#else
using Elsewhere = calm::Cpu;
#endif

int main() {
  const calm::Tensor<float, calm::Cpu, calm::Time, Hidden> x;
  const calm::Tensor<float, Elsewhere, Hidden, Hidden> weight;
  const auto y = calm::linear(x, weight);
}
