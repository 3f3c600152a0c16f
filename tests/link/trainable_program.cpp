// The counterpart of the frozen program: what is absent there is found here, under the same names.
// present: calm::detail::LinearNode<.*, false, true>::backward
// present: calm::detail::MultiplyNode<.*, true, true>::backward
// present: calm::Tape<
// present: calm::GradientBuffer<
// present: calm::TrainableParameter<
// present: calm::kernel::sum_rows
// present: calm::kernel::multiply_add
#include "layer.hpp"

int main() {
  const Layer<calm::Trainable> layer;
  calm::Tape<calm::Cpu> tape;
  const auto recording = tape.record();
  const auto y = layer(input());
  return value(y)[0] == 4.0f ? 0 : 1;
}
