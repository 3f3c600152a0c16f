// Key heads are shared evenly among the query heads.
// error: calm::nn: kv_heads do not divide heads
#include "models.hpp"

struct Grouped {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr std::size_t groups = 3;
#else
  static constexpr std::size_t groups = 2;
#endif
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 64, .hidden = 32, .layers = 1, .heads = 4, .kv_heads = groups, .context = 16};
};

int main() { const Model<Grouped> model; }
