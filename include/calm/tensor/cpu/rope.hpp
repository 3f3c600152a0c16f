/// \file  Host kernels for rotary positions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "calm/tensor/cpu/rows.hpp"
#include "calm/tensor/cpu/sum.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// table[i] = the cosines, then the sines, of position[i] · frequency[k] for k < width/2. Angles are in double: an
/// angle of 10^5 in float would be wrong by up to 4·10^-3.
template <class A>
void rotations(Cpu, std::size_t n, std::size_t width, const double* frequency, const Index* position, A* table) {
  const std::size_t half = width / 2;
  parallel_ranges(n, 256 / std::max<std::size_t>(half, 1) + 1, [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      for (std::size_t k = 0; k < half; ++k) {
        const double angle = position[i] * frequency[k];
        table[i * width + k] = static_cast<A>(std::cos(angle));
        table[i * width + half + k] = static_cast<A>(std::sin(angle));
      }
    }
  });
}

/// How heads turn, each of `width` elements, of which the first `turned`: pair k is (k, k + turned/2), or (2k, 2k + 1)
/// if `interleaved`. Row i turns by table[i], [width], cosines before sines; without a table nothing turns.
template <class A>
struct HeadTurn {
  const A* table = nullptr;
  std::size_t width = 1, turned = 0;
  bool interleaved = false;
};

namespace detail {

/// y = x, `n` elements of row i, its heads turned, or turned back (+ y if `add`); y may be x.
template <class T>
void turn_heads(const HeadTurn<Accumulator<T>>& by, std::size_t i, std::size_t n, bool back, bool add, const T* x,
                T* y) {
  using A = Accumulator<T>;
  const A *cosine = by.table + i * by.width, *sine = cosine + by.width / 2;
  const std::size_t half = by.turned / 2, step = by.interleaved ? 2 : 1, other = by.interleaved ? 1 : half;
  with_row_kernels([=](auto set) {
    for (std::size_t head = 0; head < n; head += by.width) {
      set.template turn<A>(half, step, other, cosine, sine, back, add, x + head, y + head);
      for (std::size_t c = head + by.turned; c < head + by.width; ++c)
        y[c] = add ? static_cast<T>(A(y[c]) + A(x[c])) : x[c];
    }
  });
}

template <class T>
void turn_rows(const HeadTurn<Accumulator<T>>& by, std::size_t rows, std::size_t n, bool back, bool add, const T* x,
               T* y) {
  parallel_ranges(rows, rows_per_thread(n), [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) turn_heads(by, i, n, back, add, x + i * n, y + i * n);
  });
}

}  // namespace detail

/// y[i, h] = x[i, h] with its pairs turned (`HeadTurn`).
template <class T>
void rope(Cpu, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
          const Accumulator<T>* table, const T* x, T* y) {
  detail::turn_rows<T>({table, width, turned, interleaved}, n, heads * width, false, false, x, y);
}

/// dx[i, h] = dy[i, h] with its pairs turned back (+ dx[i, h] if `add`)
template <class T>
void rope_backward(Cpu, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
                   const Accumulator<T>* table, const T* dy, T* dx, bool add = true) {
  detail::turn_rows<T>({table, width, turned, interleaved}, n, heads * width, true, add, dy, dx);
}

}  // namespace calm::kernel
