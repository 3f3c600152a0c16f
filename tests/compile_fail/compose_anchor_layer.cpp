// A link to a layer that the anchor does not have.
// error: calm::Compose: a link names an anchor layer beyond the anchor's depth
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Links = calm::LayerMap<calm::Link<1, 4>>;
#else
using Links = calm::LayerMap<calm::Link<1, 3>>;
#endif

int main() { const calm::Compose<Model<Large>, Model<Small>, Links> model; }
