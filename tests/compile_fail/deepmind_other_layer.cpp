// What google-deepmind/calm trained is read into bridges that compute the same.
// error: calm::import_deepmind_bridges: the bridges need the options bridge::DeepMind
#include "calm/compose/deepmind_import.hpp"
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
using Options = calm::bridge::Paper;
#else
using Options = calm::bridge::DeepMind;
#endif

int main() {
  calm::Compose<Model<Large>, Model<Small>, calm::LayerMap<calm::Link<1, 3>>, Options> model;
  calm::import_deepmind_bridges(model, "folder");
}
