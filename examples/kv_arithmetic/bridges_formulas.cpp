#include "bridges.hpp"

namespace kv {
namespace {

struct NoSink {
  static constexpr calm::BridgeConfig config{.sink = false, .recency = 4, .recency_octaves = 0};
};
template <std::size_t Rank>
struct LowRank {
  static constexpr calm::BridgeConfig config{.recency = 4, .recency_octaves = 0, .rank = Rank};
};

}  // namespace

std::vector<BridgeRow> formulas() {
  using calm::bridge::Local;
  return {bridge_row<Local>("formula", "local"),
          bridge_row<calm::bridge::Paper>("formula", "paper"),
          bridge_row<calm::bridge::Normalised>("formula", "normalised"),
          bridge_row<NoSink>("formula", "no sink"),
          bridge_row<LowRank<8>>("formula", "rank 8"),
          bridge_row<LowRank<32>>("formula", "rank 32"),
          bridge_row<Local>("share of the keys", "5 % of the keys", 5),
          bridge_row<Local>("share of the keys", "10 % of the keys", 10),
          bridge_row<Local>("share of the keys", "40 % of the keys", 40)};
}

}  // namespace kv
