// Kept features belong to the anchor's tokens.
// error: calm::train::FeatureCache: an augment with a tokenizer of its own has states of other tokens
#include "calm/compose/retokenized.hpp"
#include "calm/train/feature_cache.hpp"
#include "models.hpp"

using Links = calm::LayerMap<calm::Link<1, 3>>;
#ifdef CALM_MUST_NOT_COMPILE
using Part = calm::Retokenized<Model<Small>, Links>;
#else
using Part = calm::With<Model<Small>, Links>;
#endif

int main() { return sizeof(calm::train::FeatureCache<calm::Compose<Model<Large>, Part>>) == 0; }
