// All that calm has for the GPU, in one file. The target calm::cuda adds it to the programs that link it.
#include "calm/tensor/cuda/device.cuh"
#include "calm/tensor/cuda/kernels.cuh"
#include "calm/tensor/cuda/products.cuh"
#include "calm/tensor/cuda/profile.cuh"
#include "calm/tensor/cuda/streams.cuh"
