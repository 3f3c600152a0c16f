// A link back from a layer that the anchor does not have.
// error: calm::TwoWay: a link back names an anchor layer beyond the anchor's depth
#include "calm/compose/two_way.hpp"
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using BackMap = calm::LayerMap<calm::Link<4, 1>>;
#else
using BackMap = calm::LayerMap<calm::Link<2, 1>>;
#endif
using Map = calm::LayerMap<calm::Link<0, 2>, calm::Link<1, 3>>;

int main() { const calm::Compose<Model<Large>, calm::TwoWay<Model<Small>, Map, BackMap>> model; }
