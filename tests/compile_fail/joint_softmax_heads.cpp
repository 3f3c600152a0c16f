// One softmax per head: the bridges have the same number of heads.
// error: calm::join::JointSoftmax: all bridges need the same number of heads
#include "calm/compose/join_softmax.hpp"
#include "models.hpp"

struct Options {
#ifdef CALM_MUST_NOT_COMPILE
  static constexpr calm::BridgeConfig config{.heads = 2};
#else
  static constexpr calm::BridgeConfig config{.heads = 4};
#endif
};
using Links = calm::LayerMap<calm::Link<1, 2>>;

int main() {
  const calm::Compose<Model<Large>, calm::join::JointSoftmax, calm::With<Model<Small>, Links>,
                      calm::With<Model<Small>, Links, Options>>
      model;
}
