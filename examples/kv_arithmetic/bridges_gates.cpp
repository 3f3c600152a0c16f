#include "bridges.hpp"

namespace kv {
namespace {

template <calm::BridgeGate Gate>
struct Gated {
  static constexpr calm::BridgeConfig config{.recency = 4, .recency_octaves = 0, .gate = Gate};
};

}  // namespace

std::vector<BridgeRow> gates() {
  using calm::BridgeGate;
  return {bridge_row<Gated<BridgeGate::tanh>>("gate", "tanh gate"),
          bridge_row<Gated<BridgeGate::tanh_per_head>>("gate", "tanh gate per head"),
          bridge_row<Gated<BridgeGate::sigmoid>>("gate", "sigmoid gate"),
          bridge_row<calm::bridge::Flamingo>("gate", "flamingo")};
}

}  // namespace kv
