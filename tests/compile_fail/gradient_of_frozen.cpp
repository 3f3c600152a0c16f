// A frozen parameter has no gradient to ask for.
// error: calm::gradient: this parameter is frozen; a frozen parameter has no gradient
#include "calm/tensor/var.hpp"

struct Hidden {
  static constexpr std::size_t extent = 4;
};

#ifdef CALM_MUST_NOT_COMPILE
using Mode = calm::Frozen;
#else
using Mode = calm::Trainable;
#endif

int main() {
  const calm::Parameter<Mode, calm::Tensor<float, calm::Cpu, Hidden>> scale;
  return calm::gradient(scale) != nullptr;
}
