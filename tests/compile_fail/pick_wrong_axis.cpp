// An index chooses rows for each text of x.
// error: calm::pick: expects a Tensor of Index of two axes, of which the first is that of x
#include "calm/tensor/ops/pick.hpp"

struct Width {
  static constexpr std::size_t extent = 8;
};

#ifdef CALM_MUST_NOT_COMPILE
using First = calm::Source;
#else
using First = calm::Batch;
#endif

int main() {
  const calm::Tensor<float, calm::Cpu, calm::Batch, calm::Source, Width> x;
  const calm::Tensor<calm::Index, calm::Cpu, First, calm::Time> index;
  const auto y = calm::pick(x, index);
}
