// There are no more links than layers.
// error: calm::Uniform: more links than one of the models has layers
#include "models.hpp"

#ifdef CALM_MUST_NOT_COMPILE
constexpr std::size_t links = 3;
#else
constexpr std::size_t links = 2;
#endif

static_assert(calm::Uniform<Model<Large>, Model<Small>, links>::size == links);

int main() {}
