// A fresh bridge has one factor that is zero: without a gate it is not the gate.
// error: calm::Bridge: start = zero_gate needs gate = tanh or tanh_per_head
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.start = calm::BridgeStart::zero_gate};
#else
  static constexpr calm::BridgeConfig config{.gate = calm::BridgeGate::tanh, .start = calm::BridgeStart::zero_gate};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
