/// \file  Includes the file that CALM_KERNELS names once for each instruction set: the program's own, and those beyond
/// it that processors may have. CALM_SET is the set's namespace, which names what it is, so that sources of one program
/// may be compiled for different processors; CALM_SET_BYTES is the width of its registers. Hence no `#pragma once`, and
/// alone it includes nothing. In such a file no lambda computes: GCC gives its body the program's own instructions.
#include "calm/tensor/cpu/instructions.hpp"

#ifdef CALM_KERNELS

#if defined(__AVX512F__)
#define CALM_SET avx512
#define CALM_SET_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define CALM_SET avx2
#define CALM_SET_BYTES 32
#else
#define CALM_SET native
#define CALM_SET_BYTES 16
#endif
#include CALM_KERNELS
#undef CALM_SET
#undef CALM_SET_BYTES

#if defined(__x86_64__) && !defined(__AVX512F__)
#define CALM_SET avx512
#define CALM_SET_BYTES 64
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#endif
#include CALM_KERNELS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef CALM_SET
#undef CALM_SET_BYTES
#if !defined(__AVX2__) || !defined(__FMA__)
#define CALM_SET avx2
#define CALM_SET_BYTES 32
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include CALM_KERNELS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef CALM_SET
#undef CALM_SET_BYTES
#endif
#endif
#undef CALM_KERNELS

#endif
