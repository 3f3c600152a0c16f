// A mix has one weight for each of its states.
// error: calm::mix: the weights must be a single axis with one element for each
#include "calm/tensor/ops/mix.hpp"

struct Layers {
  static constexpr std::size_t extent = 2;
};
struct Width {
  static constexpr std::size_t extent = 8;
};

#ifdef CALM_MUST_NOT_COMPILE
constexpr std::size_t count = 3;
#else
constexpr std::size_t count = 2;
#endif

int main() {
  const std::array<calm::Tensor<float, calm::Cpu, calm::Time, Width>, count> states;
  const calm::Tensor<float, calm::Cpu, Layers> weights;
  const auto y = calm::mix(states, weights);
}
