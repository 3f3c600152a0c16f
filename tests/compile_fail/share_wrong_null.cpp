// A null score has one number for each head of the scores, not for those of another model.
// error: calm::share: expects a list of operands, and as null score the last axis of these alone
#include "calm/tensor/ops/share.hpp"

struct Heads {
  static constexpr std::size_t extent = 4;
};
struct OtherHeads {
  static constexpr std::size_t extent = 4;
};

#ifdef CALM_MUST_NOT_COMPILE
using Null = OtherHeads;
#else
using Null = Heads;
#endif

int main() {
  const std::array<calm::Tensor<float, calm::Cpu, calm::Time, Heads>, 2> scores;
  const calm::Tensor<float, calm::Cpu, Null> null;
  const auto y = calm::share(0, scores, null);
}
