// A frozen layer on a tensor is inference: no node, no tape and no gradient is compiled into the program.
// present: calm::kernel::gemm
// absent: calm::detail::[A-Za-z]+Node<[^\n]*::backward
// absent: calm::Tape<[^>]*>::
// absent: calm::GradientBuffer<
// absent: calm::TrainableParameter<
// absent: calm::kernel::sum_rows
// absent: calm::kernel::multiply_add
#include "layer.hpp"

int main() {
  const Layer<calm::Frozen> layer;
  const auto y = layer(input());
  return y[0] == 4.0f ? 0 : 1;
}
