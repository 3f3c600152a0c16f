// A projection has at most the rank of its narrower side.
// error: calm::Bridge: the rank of the projection is larger than one of the two hidden widths
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.rank = 17};
#else
  static constexpr calm::BridgeConfig config{.rank = 16};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
