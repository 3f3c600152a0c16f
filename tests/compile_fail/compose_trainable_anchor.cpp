// Both models of a composition are frozen.
// error: calm::Compose: the anchor is not frozen
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Mode = calm::Trainable;
#else
using Mode = calm::Frozen;
#endif

int main() { const calm::Compose<Model<Large, Mode>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>> model; }
