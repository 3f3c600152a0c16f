// A bridge's heads divide the anchor's width.
// error: calm::Bridge: heads do not divide the anchor's hidden width
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.heads = 5};
#else
  static constexpr calm::BridgeConfig config{.heads = 8};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
