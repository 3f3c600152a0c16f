// A joint softmax is put together from the library's bridges alone.
// error: calm::join::JointSoftmax: bridges of a user's own have no scores to share a softmax by
#include "calm/compose/graft.hpp"
#include "calm/compose/join_softmax.hpp"
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Join = calm::join::JointSoftmax;
#else
using Join = calm::join::Sum;
#endif
using Links = calm::LayerMap<calm::Link<1, 2>>;

int main() { const calm::Compose<Model<Large>, Join, calm::With<Model<Large>, Links, calm::graft::Sum>> model; }
