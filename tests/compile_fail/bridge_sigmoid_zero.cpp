// A sigmoid is never zero: W_O is, where it gates.
// error: calm::Bridge: start = zero_gate needs gate = tanh or tanh_per_head
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.gate = calm::BridgeGate::sigmoid, .start = calm::BridgeStart::zero_gate};
#else
  static constexpr calm::BridgeConfig config{.gate = calm::BridgeGate::sigmoid};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
