// The two models of a composition compute in one element type.
// error: calm::Compose: anchor and augment have different element types
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Other = calm::bf16;
#else
using Other = float;
#endif

using Augment = calm::nn::Transformer<Small, Other, calm::Cpu>;

int main() { const calm::Compose<Model<Large>, Augment, calm::LayerMap<calm::Link<1, 3>>> model; }
