// Each anchor layer has one link at most.
// error: calm::LayerMap: links must ascend: each anchor layer once
#include "calm/compose/layer_map.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Links = calm::LayerMap<calm::Link<0, 1>, calm::Link<1, 1>>;
#else
using Links = calm::LayerMap<calm::Link<0, 1>, calm::Link<0, 2>>;  // an augment layer may serve two
#endif

static_assert(Links::size == 2);

int main() {}
