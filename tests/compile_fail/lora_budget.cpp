// A budget pays for corrections of rank 1 at least.
// error: calm::nn::LowRankFor: the budget of parameters is below that of corrections of rank 1
#include "models.hpp"

constexpr std::size_t least = calm::nn::low_rank_cost(Small::config);

#ifdef CALM_MUST_NOT_COMPILE
using Mode = calm::nn::LowRankFor<Small, least - 1>;
#else
using Mode = calm::nn::LowRankFor<Small, least>;
#endif

int main() { const calm::nn::Transformer<Small, float, calm::Cpu, Mode> model; }
