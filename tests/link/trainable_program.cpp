// The counterpart of the two programs beside it: what is absent there is found here, under the same names.
// present: calm::detail::[A-Za-z]+Node<[^\n]*::backward
// present: calm::Tape<[^>]*>::
// present: calm::GradientBuffer<
// present: calm::TrainableParameter<
// present: calm::kernel::sum_rows
// present: calm::kernel::multiply_add
// present: LinearNode<[^\n]*, (true|false), true, (true|false)>::backward
// present: AddNode<[^\n]*, (true|false), true, false>::backward
// present: MultiplyNode<[^\n]*, (true|false), true>::backward
#include "layer.hpp"

int main() {
  const Layer<calm::Trainable> layer;
  calm::Tape<calm::Cpu> tape;
  const auto recording = tape.record();
  const auto y = layer(input());
  return value(y)[0] == 4.0f ? 0 : 1;
}
