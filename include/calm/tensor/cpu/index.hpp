/// \file  Host kernels that read and write rows by index.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/sum.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

/// The first i with index[i] outside [0, bound); n if there is none.
inline std::size_t first_outside(Cpu, std::size_t n, const Index* index, std::size_t bound) {
  const auto inside = [=](Index i) { return i >= 0 && static_cast<std::size_t>(i) < bound; };
  return static_cast<std::size_t>(std::find_if_not(index, index + n, inside) - index);
}

/// The first i with index[i] >= bound; n if there is none.
inline std::size_t first_beyond(Cpu, std::size_t n, const Index* index, std::size_t bound) {
  const auto beyond = [=](Index i) { return i >= 0 && static_cast<std::size_t>(i) >= bound; };
  return static_cast<std::size_t>(std::find_if(index, index + n, beyond) - index);
}

/// y[i] = x[i · step + index[i]], in rows of `cols` elements; step 0 looks every index up in one table
template <class T>
void take_rows(Cpu, std::size_t n, std::size_t cols, std::size_t step, const Index* index, const T* x, T* y) {
  parallel_ranges(n, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      std::copy_n(x + (i * step + static_cast<std::size_t>(index[i])) * cols, cols, y + i * cols);
    }
  });
}

/// dx[i · step + index[i]] += dy[i], in rows of `cols` elements; `step` is beyond every index, so no row is met twice
template <class T>
void put_rows(Cpu, std::size_t n, std::size_t cols, std::size_t step, const Index* index, const T* dy, T* dx) {
  using A = Accumulator<T>;
  parallel_ranges(n, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const T* from = dy + i * cols;
      T* to = dx + (i * step + static_cast<std::size_t>(index[i])) * cols;
      for (std::size_t c = 0; c < cols; ++c) to[c] = static_cast<T>(A(to[c]) + A(from[c]));
    }
  });
}

/// y[i] = x[i / group · step + index[i]], in rows of `cols` elements; zeros where index[i] < 0. Each `group` of indices
/// chooses from `step` rows of its own.
template <class T>
void pick_rows(Cpu, std::size_t n, std::size_t group, std::size_t cols, std::size_t step, const Index* index,
               const T* x, T* y) {
  parallel_ranges(n, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      if (index[i] < 0)
        std::fill_n(y + i * cols, cols, T(0));
      else
        std::copy_n(x + (i / group * step + static_cast<std::size_t>(index[i])) * cols, cols, y + i * cols);
    }
  });
}

/// rows[b, position[b, t]] = fresh[b, t], in rows of `cols` elements, but for padding, where end[b, t] = 0; a text has
/// room for `capacity` rows, which may be of another type
template <class T, class C>
void keep_rows(Cpu, std::size_t batch, std::size_t time, std::size_t capacity, std::size_t cols, const Index* position,
               const Index* end, const T* fresh, C* rows) {
  parallel_ranges(batch * time, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t last) {
    for (std::size_t i = begin; i < last; ++i) {
      if (end[i] == 0) continue;
      C* const to = rows + (i / time * capacity + static_cast<std::size_t>(position[i])) * cols;
      for (std::size_t c = 0; c < cols; ++c) to[c] = static_cast<C>(fresh[i * cols + c]);
    }
  });
}

/// dtable[index[i]] += dy[i], in rows of `cols` elements; a row of negative index goes nowhere. The rows of one index
/// are added up in order, in the type of sums, by one thread: the same bits every time.
template <class T>
void scatter_rows(Cpu, std::size_t n, std::size_t cols, const Index* index, const T* dy, T* dtable) {
  using A = Accumulator<T>;
  const Storage<Cpu> memory(n * sizeof(std::size_t));
  auto* order = static_cast<std::size_t*>(memory.data());
  for (std::size_t i = 0; i < n; ++i) order[i] = i;
  std::sort(order, order + n, [=](std::size_t a, std::size_t b) {
    return index[a] != index[b] ? index[a] < index[b] : a < b;
  });
  parallel_ranges(n, detail::rows_per_thread(cols), [=](std::size_t begin, std::size_t end) {
    constexpr std::size_t width = 64;  // columns that are added up at a time
    std::size_t i = begin;
    while (i > 0 && i < end && index[order[i]] == index[order[i - 1]]) ++i;  // belongs to the range before
    while (i < end) {
      std::size_t past = i + 1;
      while (past < n && index[order[past]] == index[order[i]]) ++past;
      if (index[order[i]] < 0) {
        i = past;
        continue;
      }
      T* to = dtable + static_cast<std::size_t>(index[order[i]]) * cols;
      for (std::size_t c0 = 0; c0 < cols; c0 += width) {
        const std::size_t some = std::min(width, cols - c0);
        A total[width] = {};
        for (std::size_t j = i; j < past; ++j) {
          const T* from = dy + order[j] * cols + c0;
          for (std::size_t c = 0; c < some; ++c) total[c] += A(from[c]);
        }
        for (std::size_t c = 0; c < some; ++c) to[c0 + c] = static_cast<T>(A(to[c0 + c]) + total[c]);
      }
      i = past;
    }
  });
}

}  // namespace calm::kernel
