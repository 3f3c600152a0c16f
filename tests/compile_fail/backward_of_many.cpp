// The backward pass starts from one number.
// error: calm::backward: the loss must be a scalar
#include "calm/tensor/var.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Loss = calm::Var<calm::Tensor<float, calm::Cpu, calm::Time>>;
#else
using Loss = calm::Var<calm::Tensor<float, calm::Cpu, calm::One>>;
#endif

void step(const Loss& loss) { calm::backward(loss); }

int main() {}
