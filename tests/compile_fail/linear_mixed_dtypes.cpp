// Element types are never converted in passing.
// error: calm::linear: input and weight have different element types
#include "calm/tensor/ops/linear.hpp"

struct Hidden {
  static constexpr std::size_t extent = 4;
};

#ifdef CALM_MUST_NOT_COMPILE
using Other = calm::bf16;
#else
using Other = float;
#endif

int main() {
  const calm::Tensor<float, calm::Cpu, calm::Time, Hidden> x;
  const calm::Tensor<Other, calm::Cpu, Hidden, Hidden> weight;
  const auto y = calm::linear(x, weight);
}
