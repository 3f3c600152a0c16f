/// \file  The GPU's kernels that read and write rows by index.
#pragma once

#include <algorithm>
#include <numeric>

#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/mirror.hpp"
#include "calm/tensor/cuda/pack.cuh"
#include "calm/tensor/storage.hpp"

namespace calm::cuda {

/// y[i] = x[i / group · step + index[i]], rows of `cols` elements; zeros for a negative index
template <class T>
struct TakeRows {
  std::size_t group, cols, step;
  const Index* index;
  const T* x;
  T* y;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t to) const {
    const std::size_t i = to / cols, c = to % cols;
    const Index row = index[i];
    Pack<T, N> pack;
    for (T& v : pack.at) v = narrow<T>(0);
    if (row >= 0) pack = load<N>(x + (i / group * step + static_cast<std::size_t>(row)) * cols + c);
    store(y + to, pack);
  }
};

/// dx[i · step + index[i]] += dy[i]; no row is met twice
template <class T>
struct PutRows {
  std::size_t cols, step;
  const Index* index;
  const T* dy;
  T* dx;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t from) const {
    const std::size_t i = from / cols, c = from % cols;
    T* const to = dx + (i * step + static_cast<std::size_t>(index[i])) * cols + c;
    const auto added = load<N>(dy + from);
    auto pack = load<N>(to);
    for (std::size_t j = 0; j < N; ++j) pack.at[j] = narrow<T>(wide(pack.at[j]) + wide(added.at[j]));
    store(to, pack);
  }
};

/// dtable[target[s]] += Σ dy[order[i]] for i from first[s] to first[s + 1], in order
template <class T>
struct ScatterRows {
  std::size_t cols;
  const Index *order, *first, *target;
  const T* dy;
  T* dtable;
  CALM_KERNEL void operator()(std::size_t at) const {
    const std::size_t s = at / cols, c = at % cols;
    Accumulator<T> total = 0;
    for (Index i = first[s]; i < first[s + 1]; ++i) total += wide(dy[static_cast<std::size_t>(order[i]) * cols + c]);
    T& to = dtable[static_cast<std::size_t>(target[s]) * cols + c];
    to = narrow<T>(wide(to) + total);
  }
};

template <class T, class U>
struct KeepRows {
  std::size_t time, capacity, cols;
  const Index *position, *end;
  const T* fresh;
  U* rows;
  template <std::size_t N>
  CALM_KERNEL void at(std::size_t from) const {
    const std::size_t i = from / cols, c = from % cols;
    if (end[i] == 0) return;
    const auto row = load<N>(fresh + from);
    Pack<U, N> kept;
    for (std::size_t j = 0; j < N; ++j) kept.at[j] = narrow<U>(wide(row.at[j]));
    store(rows + (i / time * capacity + static_cast<std::size_t>(position[i])) * cols + c, kept);
  }
};

/// f on n rows of `cols` elements of T, in packs where these are whole; `data` are what it reads and writes.
template <class T, class F, class... P>
void over_elements(const char* kernel, std::size_t n, std::size_t cols, const F& f, const P*... data) {
  constexpr std::size_t width = pack_width<T>;
  each_pack<width>(kernel, n * cols, in_packs(data...) && cols % width == 0, f);
}

}  // namespace calm::cuda

namespace calm::kernel {

std::size_t first_outside(Cuda, std::size_t n, const Index* index, std::size_t bound) {
  const auto inside = [=](Index i) { return i >= 0 && static_cast<std::size_t>(i) < bound; };
  return static_cast<std::size_t>(std::find_if_not(index, index + n, inside) - index);
}
std::size_t first_beyond(Cuda, std::size_t n, const Index* index, std::size_t bound) {
  const auto beyond = [=](Index i) { return i >= 0 && static_cast<std::size_t>(i) >= bound; };
  return static_cast<std::size_t>(std::find_if(index, index + n, beyond) - index);
}
template <class T>
void take_rows(Cuda, std::size_t n, std::size_t cols, std::size_t step, const Index* index, const T* x, T* y) {
  cuda::over_elements<T>("take_rows", n, cols, cuda::TakeRows<T>{1, cols, step, cuda::near(index), x, y}, x, y);
}
template <class T>
void put_rows(Cuda, std::size_t n, std::size_t cols, std::size_t step, const Index* index, const T* dy, T* dx) {
  cuda::over_elements<T>("put_rows", n, cols, cuda::PutRows<T>{cols, step, cuda::near(index), dy, dx}, dy, dx);
}
template <class T>
void pick_rows(Cuda, std::size_t n, std::size_t group, std::size_t cols, std::size_t step, const Index* index,
               const T* x, T* y) {
  cuda::over_elements<T>("pick_rows", n, cols, cuda::TakeRows<T>{group, cols, step, cuda::near(index), x, y}, x, y);
}
template <class T>
void scatter_rows(Cuda, std::size_t n, std::size_t cols, const Index* index, const T* dy, T* dtable) {
  // The host sorts: it can read the indices, and there are few of them.
  const Storage<Cuda> memory((3 * n + 1) * sizeof(Index), Place::shared);
  auto* const order = static_cast<Index*>(memory.data());
  Index *const first = order + n, *const target = first + n + 1;
  std::iota(order, order + n, Index{0});
  std::sort(order, order + n, [=](Index a, Index b) { return index[a] < index[b] || (index[a] == index[b] && a < b); });
  const auto seen = static_cast<std::size_t>(
      std::find_if(order, order + n, [=](Index i) { return index[i] >= 0; }) - order);
  std::size_t sums = 0;
  for (std::size_t i = seen; i < n; ++i) {
    if (i > seen && index[order[i]] == index[order[i - 1]]) continue;
    first[sums] = static_cast<Index>(i);
    target[sums++] = index[order[i]];
  }
  first[sums] = static_cast<Index>(n);
  cuda::each("scatter_rows", sums * cols, cuda::ScatterRows<T>{cols, order, first, target, dy, dtable});
}
template <class T, class U>
void keep_rows(Cuda, std::size_t batch, std::size_t time, std::size_t capacity, std::size_t cols, const Index* position,
               const Index* end, const T* fresh, U* rows) {
  cuda::over_elements<T>("keep_rows", batch * time, cols,
                         cuda::KeepRows<T, U>{time, capacity, cols, cuda::near(position), cuda::near(end), fresh, rows},
                         fresh, rows);
}

#define CALM_INDEX(T)                                                                                               \
  template void take_rows<T>(Cuda, std::size_t, std::size_t, std::size_t, const Index*, const T*, T*);              \
  template void put_rows<T>(Cuda, std::size_t, std::size_t, std::size_t, const Index*, const T*, T*);               \
  template void pick_rows<T>(Cuda, std::size_t, std::size_t, std::size_t, std::size_t, const Index*, const T*, T*); \
  template void scatter_rows<T>(Cuda, std::size_t, std::size_t, const Index*, const T*, T*);                        \
  CALM_KEEP_ROWS(T, T)
#define CALM_KEEP_ROWS(T, U)                                                                                          \
  template void keep_rows<T, U>(Cuda, std::size_t, std::size_t, std::size_t, std::size_t, const Index*, const Index*, \
                                const T*, U*);
CALM_KEEP_ROWS(float, bf16)
CALM_FOR_COMPUTE_TYPES(CALM_INDEX)
#undef CALM_INDEX
#undef CALM_KEEP_ROWS

}  // namespace calm::kernel
