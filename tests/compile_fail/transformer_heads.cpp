// Heads divide a model's width.
// error: calm::nn: heads do not divide the hidden width; give head_width or other heads
#include "models.hpp"

struct Headed {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr std::size_t heads = 5;
#else
  static constexpr std::size_t heads = 8;
#endif
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 64, .hidden = 32, .layers = 1, .heads = heads, .context = 16};
};

int main() { const Model<Headed> model; }
