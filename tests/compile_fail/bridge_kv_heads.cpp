// Each head of the keys serves as many heads of the queries as the others.
// error: calm::Bridge: kv_heads do not divide the heads
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.heads = 4, .kv_heads = 3};
#else
  static constexpr calm::BridgeConfig config{.heads = 4, .kv_heads = 2};
#endif
};

int main() { const calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model; }
