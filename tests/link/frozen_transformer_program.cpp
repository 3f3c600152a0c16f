// A frozen transformer, from tokens to a loss: no node, no tape and no gradient is compiled into the program.
// present: calm::kernel::gemm
// present: calm::nn::Block<Large
// absent: calm::detail::[A-Za-z]+Node<[^\n]*::backward
// absent: calm::Tape<[^>]*>::
// absent: calm::GradientBuffer<
// absent: calm::TrainableParameter<
#include "models.hpp"

int main() {
  Model<Large> model;
  calm::nn::initialise(model);
  const auto loss = model.loss(tokens(), layout(), tokens());
  return loss[0] > 0 ? 0 : 1;
}
