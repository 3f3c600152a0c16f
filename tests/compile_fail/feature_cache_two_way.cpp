// Only what training never changes is kept.
// error: calm::train::FeatureCache: an augment of a TwoWay reads the anchor
#include "calm/compose/two_way.hpp"
#include "calm/train/feature_cache.hpp"
#include "models.hpp"

using Links = calm::LayerMap<calm::Link<1, 3>>;
#ifdef CALM_MUST_NOT_COMPILE
using Part = calm::TwoWay<Model<Small>, Links, calm::LayerMap<calm::Link<1, 0>>>;
#else
using Part = calm::With<Model<Small>, Links>;
#endif

int main() { return sizeof(calm::train::FeatureCache<calm::Compose<Model<Large>, Part>>) == 0; }
