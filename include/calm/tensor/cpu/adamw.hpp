/// \file  Host kernels of the optimizer: one sweep per parameter, and the norm of its gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// Σ x[i]² in double; `partial` has room for a number per chunk of x. The same bits with any number of threads; not
/// finite if and only if an element is not, or if doubles are beyond 1e150.
template <class T>
double sum_of_squares(Cpu, std::size_t n, const T* x, double* partial) {
  const std::size_t chunks = (n + norm_chunk - 1) / norm_chunk;
  parallel_ranges(chunks, 4, [=](std::size_t first, std::size_t last) {
    for (std::size_t c = first; c < last; ++c) {
      constexpr std::size_t lanes = 16;
      double sum[lanes] = {};
      const std::size_t begin = c * norm_chunk, end = std::min(n, begin + norm_chunk);
      std::size_t i = begin;
      for (; i + lanes <= end; i += lanes) {
        for (std::size_t k = 0; k < lanes; ++k) {
          const auto value = static_cast<double>(x[i + k]);
          sum[k] += value * value;
        }
      }
      for (; i < end; ++i) sum[i % lanes] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      partial[c] = 0;
      for (std::size_t k = 0; k < lanes; ++k) partial[c] += sum[k];
    }
  });
  double total = 0;
  for (std::size_t c = 0; c < chunks; ++c) total += partial[c];
  return total;
}
/// sums[i] = the same of array i, whose elements are T; `partial` has room for the largest.
template <class T>
void sums_of_squares(Cpu, std::size_t count, const Elements* x, double* partial, double* sums) {
  for (std::size_t i = 0; i < count; ++i) {
    const T* const data = static_cast<const T*>(x[i].data);
    sums[i] = data ? sum_of_squares(Cpu{}, x[i].size, data, partial) : 0;
  }
}

/// One AdamW step on `n` elements: parameter `x`, its gradient `g` (null: zero), its moments `m` and `v`, and, where
/// `x` is too coarse to add small steps to, its exact value `master` (else null). A master that does not round to x was
/// overtaken by another hand, and x counts.
template <class T, class A>
void adamw(Cpu, std::size_t n, const AdamWStep<A>& s, const T* g, A* m, A* v, A* master, T* x) {
  constexpr std::size_t block = 256;  // elements that stand in the first cache between the loops
  const auto sweep = [=](auto gradient, auto read, auto write) {
    parallel_ranges(n, 1 << 14, [=](std::size_t begin, std::size_t end) {
      A root[block];
      for (std::size_t first = begin; first < end; first += block) {
        const std::size_t last = std::min(end, first + block);
        for (std::size_t i = first; i < last; ++i) {
          const A gi = gradient(i);
          m[i] = m[i] + (gi - m[i]) * (A(1) - s.beta1);
          v[i] = s.beta2 * v[i] + (A(1) - s.beta2) * gi * gi;
        }
        square_roots(last - first, v + first, root);
        for (std::size_t i = first; i < last; ++i) {
          const A length = root[i - first] / s.second_correction + s.epsilon;
          write(i, s.decay * read(i) - s.step_size * (m[i] / length));
        }
      }
    });
  };
  const auto with_gradient = [&](auto gradient) {
    if (master == nullptr) {
      sweep(gradient, [=](std::size_t i) { return static_cast<A>(x[i]); },
            [=](std::size_t i, A value) { x[i] = static_cast<T>(static_cast<Accumulator<T>>(value)); });
    } else {
      const auto read = [=](std::size_t i) {
        const A now = static_cast<A>(x[i]);
        return static_cast<A>(static_cast<T>(static_cast<Accumulator<T>>(master[i]))) == now ? master[i] : now;
      };
      sweep(gradient, read, [=](std::size_t i, A value) {
        master[i] = value;
        x[i] = static_cast<T>(static_cast<Accumulator<T>>(value));
      });
    }
  };
  if (g == nullptr)
    with_gradient([](std::size_t) { return A(0); });
  else
    with_gradient([=](std::size_t i) { return s.gradient_scale * static_cast<A>(g[i]); });
}
/// The same of each parameter of a list, whose elements are T.
template <class T, class A>
void adamw(Cpu, std::size_t count, const AdamWOperands<A>* list) {
  for (const AdamWOperands<A>& p : std::span(list, count))
    adamw(Cpu{}, p.size, p.step, static_cast<const T*>(p.g), p.m, p.v, p.master, static_cast<T*>(p.x));
}

}  // namespace calm::kernel
