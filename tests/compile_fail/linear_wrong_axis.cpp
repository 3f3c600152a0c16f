// A linear layer of one model does not take the states of another, even where both are equally wide.
// error: calm::linear: the last axis of the input is not an axis of the weight
#include "calm/tensor/ops/linear.hpp"

struct Anchor;
struct Augment;
template <class Model>
struct Hidden {
  static constexpr std::size_t extent = 4;
};
template <class Model>
struct Inner {
  static constexpr std::size_t extent = 6;
};

#ifdef CALM_MUST_NOT_COMPILE
using From = Augment;
#else
using From = Anchor;
#endif

int main() {
  const calm::Tensor<float, calm::Cpu, calm::Batch, calm::Time, Hidden<From>> states;
  const calm::Tensor<float, calm::Cpu, Inner<Anchor>, Hidden<Anchor>> weight;
  const auto y = calm::linear(states, weight);
}
