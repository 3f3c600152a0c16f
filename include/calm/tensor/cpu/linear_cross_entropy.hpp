/// \file  The host's cross-entropy fused with the projection to the vocabulary.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/cross_entropy.hpp"
#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/cpu/softcap.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

namespace detail {

/// How many rows of logits stand in memory at a time: about 1 MiB, or 128 where those are more, since each chunk reads
/// the whole weight.
constexpr std::size_t chunk_rows(std::size_t vocab, std::size_t element) {
  return std::clamp<std::size_t>((std::size_t{1} << 20) / (vocab * element), 128, 1024);
}

/// Gathers rows in the accumulator type.
template <class T, class A>
void gather_rows(std::size_t n, std::size_t width, const Index* rows, const T* x, A* y) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < width; ++c) {
      y[i * width + c] = static_cast<A>(x[static_cast<std::size_t>(rows[i]) * width + c]);
    }
  }
}

/// A weight in the accumulator type: itself, or a converted copy kept in `memory`.
template <class T>
const Accumulator<T>* widened(std::size_t n, const T* w, Storage<Cpu>& memory) {
  if constexpr (std::is_same_v<T, Accumulator<T>>) {
    return w;
  } else {
    memory = Storage<Cpu>(n * sizeof(Accumulator<T>));
    copy(Cpu{}, n, w, static_cast<Accumulator<T>*>(memory.data()));
    return static_cast<const Accumulator<T>*>(memory.data());
  }
}

}  // namespace detail

/// The mean over `count` rows of x, those that `rows` names, of -log softmax(x · wᵀ)[wanted]; with dx (and dw), their
/// gradients too. dx must be zero at entry, and so must dw. `cap` > 0 bounds the logits.
///
/// x: [..., width], w: [vocab, width], loss: [1]
template <class T>
void linear_cross_entropy(Cpu device, std::size_t count, std::size_t width, std::size_t vocab, const Index* rows,
                          const Index* wanted, const T* x, const T* w, T* dx, Accumulator<T>* dw, double cap, T* loss) {
  using A = Accumulator<T>;
  const std::size_t chunk = std::min(count, detail::chunk_rows(vocab, sizeof(A)));
  Storage<Cpu> wide_memory;
  const A* wide = detail::widened(vocab * width, w, wide_memory);
  const Storage<Cpu> memory((chunk * (vocab + 2 * width)) * sizeof(A)), losses(chunk * sizeof(double));
  Storage<Cpu> slopes;  // of the capped logits
  if (cap > 0) slopes = Storage<Cpu>(chunk * vocab * sizeof(A));
  A* slope = static_cast<A*>(slopes.data());
  A* logits = static_cast<A*>(memory.data());
  A* x_rows = logits + chunk * vocab;
  A* dx_rows = x_rows + chunk * width;
  auto* row_loss = static_cast<double*>(losses.data());
  double total = 0;
  for (std::size_t r0 = 0; r0 < count; r0 += chunk) {
    const std::size_t n = std::min(chunk, count - r0);
    detail::gather_rows(n, width, rows + r0, x, x_rows);
    gemm<A>(device, Op::none, Op::transpose, n, vocab, width, A(1), {x_rows, width}, {wide, width}, false,
            {logits, vocab});
    if (cap > 0) softcap(device, n * vocab, static_cast<A>(cap), logits, slope);
    cross_entropy<A>(device, n, vocab, wanted + r0, dx || dw, A(1) / static_cast<A>(count), slope, logits, row_loss);
    for (std::size_t i = 0; i < n; ++i) total += row_loss[i];
    if (dx) {
      gemm<A>(device, Op::none, Op::none, n, width, vocab, A(1), {logits, vocab}, {wide, width}, false,
              {dx_rows, width});
      for (std::size_t i = 0; i < n; ++i) {
        copy(device, width, dx_rows + i * width, dx + static_cast<std::size_t>(rows[r0 + i]) * width);
      }
    }
    if (dw) {
      gemm<A>(device, Op::transpose, Op::none, vocab, width, n, A(1), {logits, vocab}, {x_rows, width}, true,
              {dw, width});
    }
  }
  *loss = static_cast<T>(static_cast<A>(total / static_cast<double>(count)));
}

}  // namespace calm::kernel
