// A composition in training: gradients of the bridges' weights and of no model's; of the augment, no node at all.
// present: LinearNode<[^\n]*BridgeInner<Large[^\n]*, (true|false), true, (true|false)>::backward
// present: LinearNode<[^\n]*nn::Inner<Large>[^\n]*, true, false, (true|false)>::backward
// absent: LinearNode<[^\n]*nn::(Inner|Queries|Keys)<[^\n]*, (true|false), true, (true|false)>::backward
// absent: CrossEntropyNode<[^\n]*, (true|false), true>::backward
// absent: EmbeddingNode<[^\n]*::backward
// absent: Node<[^\n]*nn::(Inner|Queries|Keys|Vocab)<Small>[^\n]*::backward
#include "models.hpp"

int main() {
  using Links = calm::LayerMap<calm::Link<0, 0>, calm::Link<1, 1>>;
  calm::Compose<Model<Large>, Model<Small>, Links> model;
  calm::nn::initialise(model.anchor);
  calm::nn::initialise(model.augment);
  model.initialise_bridges();

  calm::Tape<calm::Cpu> tape;
  {
    const auto recording = tape.record();
    calm::backward(model.loss(tokens(), layout(), tokens()));
  }
  return calm::gradient(model.bridges[0].o_proj.weight) != nullptr ? 0 : 1;
}
