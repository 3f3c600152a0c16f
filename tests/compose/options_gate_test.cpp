// What every bridge with a gate, or a norm behind its output, owes.

#include <tuple>

#include <catch2/catch.hpp>

#include "calm/compose/bridge_file.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct GatePerHead {
  static constexpr BridgeConfig config{.gate = BridgeGate::tanh_per_head, .start = BridgeStart::zero_gate};
};
struct OpenGate {  // W_O is the zero factor, the gate begins at tanh 1
  static constexpr BridgeConfig config{.gate = BridgeGate::tanh};
};
struct OpenGatePerHead {
  static constexpr BridgeConfig config{.gate = BridgeGate::tanh_per_head, .bias = true};
};
struct Sigmoid {
  static constexpr BridgeConfig config{.gate = BridgeGate::sigmoid};
};
struct SigmoidOfRaw {
  static constexpr BridgeConfig config{.normalise_query = false, .sink = false, .gate = BridgeGate::sigmoid};
};
struct NormedOutput {
  static constexpr BridgeConfig config{
      .gate = BridgeGate::tanh, .start = BridgeStart::zero_gate, .normalise_output = true};
};
struct AllPerHead {
  static constexpr BridgeConfig config{
      .heads = 6, .gate = BridgeGate::sigmoid, .bias = true, .kv_heads = 3, .width = 5, .rank = 4};
};

using Configurations = std::tuple<bridge::Flamingo, bridge::DeepMind, GatePerHead, OpenGate, OpenGatePerHead, Sigmoid,
                                  SigmoidOfRaw, NormedOutput, AllPerHead>;

/// Two augment layers on one anchor layer, and one of them on another.
using Links = LayerMap<Link<0, 1>, Link<2, 1>, Link<2, 2>>;

template <class Options>
using Model = Compose<SmallAnchor<double>, SmallAugment<double>, Links, Options>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("what every bridge owes, whatever its gate", "", Configurations) {
  check_owed<Model<TestType>>();
}
