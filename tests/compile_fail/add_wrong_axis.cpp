// A bias belongs to the axis that it is added to.
// error: calm::operator\+: y has neither the axes of x nor its last axis alone
#include "calm/tensor/ops/arithmetic.hpp"

struct Hidden {
  static constexpr std::size_t extent = 4;
};
struct Inner {
  static constexpr std::size_t extent = 4;
};

#ifdef CALM_MUST_NOT_COMPILE
using Bias = Inner;
#else
using Bias = Hidden;
#endif

int main() {
  const calm::Tensor<float, calm::Cpu, calm::Time, Hidden> x;
  const calm::Tensor<float, calm::Cpu, Bias> bias;
  const auto y = x + bias;
}
