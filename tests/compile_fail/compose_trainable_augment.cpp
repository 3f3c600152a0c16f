// Nor does a composition train its augment.
// error: calm::Compose: the augment is not frozen
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Mode = calm::Trainable;
#else
using Mode = calm::Frozen;
#endif

int main() { const calm::Compose<Model<Large>, Model<Small, Mode>, calm::LayerMap<calm::Link<1, 3>>> model; }
