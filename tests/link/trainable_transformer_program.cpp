// The counterpart of the two programs beside it: what is absent there is found here, under the same names.
// present: calm::detail::[A-Za-z]+Node<[^\n]*::backward
// present: calm::Tape<[^>]*>::
// present: calm::GradientBuffer<
// present: calm::TrainableParameter<
// present: LinearNode<[^\n]*nn::(Inner|Queries|Keys)<[^\n]*, (true|false), true, (true|false)>::backward
// present: CrossEntropyNode<[^\n]*, (true|false), true>::backward
// present: EmbeddingNode<[^\n]*::backward
// present: Node<[^\n]*nn::(Inner|Queries|Keys|Vocab)<Small>[^\n]*::backward
#include "models.hpp"

int main() {
  Model<Small, calm::Trainable> model;
  calm::nn::initialise(model);
  calm::Tape<calm::Cpu> tape;
  {
    const auto recording = tape.record();
    calm::backward(model.loss(tokens(), layout(), tokens()));
  }
  return calm::gradient(model.embed_tokens) != nullptr ? 0 : 1;
}
