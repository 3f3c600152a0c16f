// Links ascend: an anchor layer cannot read what an earlier one has already passed by.
// error: calm::LayerMap: links must ascend
#include "calm/compose/layer_map.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Links = calm::LayerMap<calm::Link<0, 3>, calm::Link<1, 1>>;
#else
using Links = calm::LayerMap<calm::Link<0, 1>, calm::Link<1, 3>>;
#endif

static_assert(Links::size == 2);

int main() {}
