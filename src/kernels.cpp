// The kernels of calm::compiled, for every type of element.
#define CALM_EXTERN

#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/cpu/attention_backward.hpp"
#include "calm/tensor/cpu/gemm.hpp"
