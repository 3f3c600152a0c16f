// A loss that nothing trainable has touched has no backward pass.
// error: calm::backward: the loss is a Tensor, so nothing that it was computed from is trainable
#include "calm/tensor/var.hpp"

using Scalar = calm::Tensor<float, calm::Cpu, calm::One>;

#ifdef CALM_MUST_NOT_COMPILE
using Loss = Scalar;
#else
using Loss = calm::Var<Scalar>;
#endif

void step(const Loss& loss) { calm::backward(loss); }

int main() {}
