// The augment's states do not enter the anchor's stream without the bridge, even where both are equally wide.
// error: calm::operator\+: y has neither the axes of x nor its last axis alone
#include "models.hpp"

struct Twin {
  static constexpr calm::nn::TransformerConfig config = Large::config;
};

#ifdef CALM_MUST_NOT_COMPILE
using From = Twin;
#else
using From = Large;
#endif

int main() {
  const Model<Large>::Stream anchor;
  const Model<From>::Stream states;
  const auto sum = anchor + states;
}
