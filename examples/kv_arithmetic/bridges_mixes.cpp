#include "bridges.hpp"

namespace kv {
namespace {

/// A learned mix of the link's augment layer and those below.
template <std::size_t Layers>
struct Mixed {
  static constexpr calm::BridgeConfig config{.recency = 4, .recency_octaves = 0, .mix = Layers};
};

}  // namespace

std::vector<BridgeRow> mixes() {
  return {bridge_row<Mixed<2>>("mix", "mix of 2 layers"), bridge_row<Mixed<3>>("mix", "mix of 3 layers")};
}

}  // namespace kv
