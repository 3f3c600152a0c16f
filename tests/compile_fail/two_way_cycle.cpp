// An anchor layer would wait for an augment layer that waits for it.
// error: calm::TwoWay: an anchor layer would wait for an augment layer that waits for it
#include "calm/compose/two_way.hpp"
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using BackMap = calm::LayerMap<calm::Link<2, 1>>;
#else
using BackMap = calm::LayerMap<calm::Link<1, 1>>;
#endif

int main() {
  const calm::Compose<Model<Large>, calm::TwoWay<Model<Small>, calm::LayerMap<calm::Link<1, 2>>, BackMap>> model;
}
