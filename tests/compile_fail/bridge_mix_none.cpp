// A mix of no layers is nothing to read.
// error: calm::Bridge: mix counts the augment layers that a link reads; at least 1
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.mix = 0};
#else
  static constexpr calm::BridgeConfig config{.mix = 1};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
