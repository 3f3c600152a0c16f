// Nothing projects in a graft, so both models are equally wide.
// error: calm::graft: nothing projects, so both models must have the same hidden width
#include "calm/compose/graft.hpp"
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Augment = Model<Small>;
#else
using Augment = Model<Large>;
#endif

int main() { const calm::Compose<Model<Large>, Augment, calm::LayerMap<calm::Link<1, 2>>, calm::graft::Mean> model; }
