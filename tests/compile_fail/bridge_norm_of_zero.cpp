// The output norm does not normalise zeros.
// error: calm::Bridge: normalise_output with W_O zero would divide zero by epsilon
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.gate = calm::BridgeGate::tanh, .normalise_output = true};
#else
  static constexpr calm::BridgeConfig config{.gate = calm::BridgeGate::tanh,
                                             .start = calm::BridgeStart::zero_gate,
                                             .normalise_output = true};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
