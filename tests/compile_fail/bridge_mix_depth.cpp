// A link mixes its own layer and those below it: behind layer 1 there are two.
// error: calm::Compose: a link mixes more augment layers than there are up to its own
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.mix = 3};
#else
  static constexpr calm::BridgeConfig config{.mix = 2};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
