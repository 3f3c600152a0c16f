// Gates per head stand before the output norm, which would normalise their zeros.
// error: calm::Bridge: normalise_output with gates per head
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.gate = calm::BridgeGate::tanh_per_head,
                                             .start = calm::BridgeStart::zero_gate,
                                             .normalise_output = true};
#else
  static constexpr calm::BridgeConfig config{.gate = calm::BridgeGate::tanh_per_head,
                                             .start = calm::BridgeStart::zero_gate};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
