/// \file  Host kernel of the cross-entropy of one block of logits.
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/cast.hpp"  // store_row
#include "calm/tensor/cpu/rows.hpp"
#include "calm/tensor/cpu/sum.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// loss[r] = log Σ_c e^logits[r, c] - logits[r, target[r]]; with `gradient`, each row of logits becomes
/// (softmax - onehot) · factor (· slope unless that is null), as numbers of type T from where the row begins.
template <class T, class A>
void cross_entropy(Cpu, std::size_t rows, std::size_t cols, const Index* target, bool gradient, A factor,
                   const A* slope, A* logits, double* loss) {
  static_assert(sizeof(T) <= sizeof(A));
  parallel_ranges(rows, (1 << 13) / cols + 1, [=](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      A* x = logits + r * cols;
      const auto t = static_cast<std::size_t>(target[r]);
      const A top = detail::largest(cols, x);
      const A wanted = x[t] - top;
      const A sum = detail::with_row_kernels([=](auto set) { return set.exponentials(cols, top, x); });
      loss[r] = std::log(static_cast<double>(sum)) - static_cast<double>(wanted);
      if (gradient) {
        const A by = factor / sum;
        for (std::size_t c = 0; c < cols; ++c) x[c] *= by;
        x[t] -= factor;
        for (std::size_t c = 0; slope && c < cols; ++c) x[c] *= slope[r * cols + c];
        if constexpr (!std::is_same_v<T, A>) detail::store_row(cols, x, reinterpret_cast<T*>(x));
      }
    }
  });
}

}  // namespace calm::kernel
