// A link stands there once; other links may share its layers.
// error: calm::LayerMap: one link stands there twice
#include "calm/compose/layer_map.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Links = calm::LayerMap<calm::Link<0, 1>, calm::Link<0, 1>>;
#else
using Links = calm::LayerMap<calm::Link<0, 1>, calm::Link<1, 1>, calm::Link<0, 2>>;
#endif

static_assert(Links::size > 1);

int main() {}
