/// \file  All kernels of the GPU, for the one file that compiles them.
#pragma once

#include "calm/tensor/cuda/activation.cuh"
#include "calm/tensor/cuda/adafactor.cuh"
#include "calm/tensor/cuda/argmax.cuh"
#include "calm/tensor/cuda/attention.cuh"
#include "calm/tensor/cuda/attention_backward.cuh"
#include "calm/tensor/cuda/cross_entropy.cuh"
#include "calm/tensor/cuda/draw.cuh"
#include "calm/tensor/cuda/elementwise.cuh"
#include "calm/tensor/cuda/index.cuh"
#include "calm/tensor/cuda/many.cuh"
#include "calm/tensor/cuda/mirror.cuh"
#include "calm/tensor/cuda/optimizer.cuh"
#include "calm/tensor/cuda/rope.cuh"
#include "calm/tensor/cuda/rows.cuh"
#include "calm/tensor/cuda/sums.cuh"
