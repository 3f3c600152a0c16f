// A factor belongs to the rows that it multiplies: the heads of another model are not those of this one.
// error: calm::multiply_rows: the factor has neither the axes of x but the last
#include "calm/tensor/ops/multiply_rows.hpp"

struct Heads {
  static constexpr std::size_t extent = 4;
};
struct OtherHeads {
  static constexpr std::size_t extent = 4;
};
struct Width {
  static constexpr std::size_t extent = 8;
};

#ifdef CALM_MUST_NOT_COMPILE
using Gate = OtherHeads;
#else
using Gate = Heads;
#endif

int main() {
  const calm::Tensor<float, calm::Cpu, calm::Time, Heads, Width> x;
  const calm::Tensor<float, calm::Cpu, Gate> gate;
  const auto y = calm::multiply_rows(x, gate);
}
