// Nobody would read what the augment's layer 1 hears.
// error: calm::TwoWay: an augment layer behind the last link reads the anchor, and nobody would read it
#include "calm/compose/two_way.hpp"
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using BackMap = calm::LayerMap<calm::Link<0, 1>>;
#else
using BackMap = calm::LayerMap<calm::Link<0, 0>>;
#endif

int main() {
  const calm::Compose<Model<Large>, calm::TwoWay<Model<Small>, calm::LayerMap<calm::Link<0, 2>>, BackMap>> model;
}
