/// \file  Host kernels that bound logits softly.
#pragma once

#include <cmath>
#include <cstddef>

#include "calm/tensor/cpu/activation.hpp"  // kernel::detail::each
#include "calm/tensor/device.hpp"

namespace calm::kernel {

/// x = cap · tanh(x / cap), and slope = how fast that grows with x.   both [n]
template <class A>
void softcap(Cpu, std::size_t n, A cap, A* x, A* slope) {
  detail::each(n, [=](std::size_t i) {
    const A t = std::tanh(x[i] / cap);
    x[i] = cap * t;
    slope[i] = (A(1) - t) * (A(1) + t);
  });
}

}  // namespace calm::kernel
