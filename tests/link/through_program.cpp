// Through a frozen layer flows the gradient of its input, and no code for those of its weights is there.
// present: calm::detail::LinearNode<[^\n]*, true, false, (true|false)>::backward
// present: calm::detail::AddNode<[^\n]*, true, false, false>::backward
// present: calm::detail::MultiplyNode<[^\n]*, true, false>::backward
// absent: LinearNode<[^\n]*, (true|false), true, (true|false)>::backward
// absent: AddNode<[^\n]*, (true|false), true, false>::backward
// absent: MultiplyNode<[^\n]*, (true|false), true>::backward
// absent: calm::kernel::sum_rows
#include "layer.hpp"

int main() {
  const Layer<calm::Frozen> layer;
  calm::TrainableParameter<Input> x;
  x.assign(input());
  calm::Tape<calm::Cpu> tape;
  const auto recording = tape.record();
  const auto y = layer(x());
  return value(y)[0] == 4.0f ? 0 : 1;
}
