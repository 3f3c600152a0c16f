// An augment that reads the anchor reads nothing that comes later.
// error: calm::TwoWay: both ways must be causal, or an answer would see itself through the other model
#include "calm/compose/two_way.hpp"
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.mask = calm::BridgeMask::prefix};
#else
  static constexpr calm::BridgeConfig config{.mask = calm::BridgeMask::causal};
#endif
};
using There = calm::LayerMap<calm::Link<1, 2>>;
using Back = calm::LayerMap<calm::Link<1, 1>>;

int main() { const calm::Compose<Model<Large>, calm::TwoWay<Model<Small>, There, Back, Options>> model; }
