/// \file  Host kernels for tanh and the logistic function; gradients come from the results.
#pragma once

#include <cmath>
#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/activation.hpp"  // kernel::detail::each
#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// y = tanh(x) or 1 / (1 + e^-x). The standard library's tanh and not one by `fast_exp`: a gate opens from 0, and there
/// that one's absolute error of 3e-7 is a large relative one.
template <class T>
void squash(Cpu, Squash kind, std::size_t n, const T* x, T* y) {
  using A = Accumulator<T>;
  if (kind == Squash::tanh)
    detail::each(n, [=](std::size_t i) { y[i] = static_cast<T>(std::tanh(A(x[i]))); });
  else
    detail::each(n, [=](std::size_t i) { y[i] = static_cast<T>(sigmoid(A(x[i]))); });
}

/// dx += (1 - y²) · dy or y · (1 - y) · dy
template <class T>
void squash_backward(Cpu, Squash kind, std::size_t n, const T* y, const T* dy, T* dx) {
  using A = Accumulator<T>;
  const A least = kind == Squash::tanh ? A(-1) : A(0);
  detail::each(n, [=](std::size_t i) {
    dx[i] = static_cast<T>(A(dx[i]) + (A(y[i]) - least) * (A(1) - A(y[i])) * A(dy[i]));
  });
}

}  // namespace calm::kernel
