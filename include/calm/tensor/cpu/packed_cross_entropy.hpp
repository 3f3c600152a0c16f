/// \file  The host's cross-entropy fused with the projection to the vocabulary by a packed weight.
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/cross_entropy.hpp"
#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/memory.hpp"
#include "calm/tensor/cpu/packed.hpp"
#include "calm/tensor/cpu/softcap.hpp"

namespace calm::kernel {

/// Rows of logits that are in memory at a time: each chunk reads the whole weight.
inline constexpr std::size_t packed_logits = 128;

/// loss = the mean over `count` rows of x, those that `rows` names, of -log softmax(x · Wᵀ)[wanted]; with dx, which
/// must be zero at entry, its gradient too. `cap` > 0 bounds the logits.
///
/// x: [..., width], W: [vocab, width] packed in T
template <class T>
void packed_cross_entropy(Cpu device, std::size_t, std::size_t count, std::size_t width, std::size_t vocab,
                          const Index* rows, const Index* wanted, const Accumulator<T>* x, const WordOf<T>* w,
                          Accumulator<T>* dx, double cap, Accumulator<T>* loss) {
  using A = Accumulator<T>;
  const std::size_t chunk = std::min(count, packed_logits);
  const Storage<Cpu> memory(chunk * (vocab + width) * sizeof(A)), losses(chunk * sizeof(double));
  Storage<Cpu> slopes;  // of the capped logits
  if (cap > 0) slopes = Storage<Cpu>(chunk * vocab * sizeof(A));
  A *slope = static_cast<A*>(slopes.data()), *logits = static_cast<A*>(memory.data()), *some = logits + chunk * vocab;
  auto* row_loss = static_cast<double*>(losses.data());
  double total = 0;
  for (std::size_t r0 = 0; r0 < count; r0 += chunk) {
    const std::size_t n = std::min(chunk, count - r0);
    for (std::size_t i = 0; i < n; ++i)
      std::copy_n(x + static_cast<std::size_t>(rows[r0 + i]) * width, width, some + i * width);
    multiply_packed<T>(device, n, vocab, width, some, w, false, logits);
    if (cap > 0) softcap(device, n * vocab, static_cast<A>(cap), logits, slope);
    cross_entropy<T>(device, n, vocab, wanted + r0, dx != nullptr, A(1) / static_cast<A>(count), slope, logits,
                     row_loss);
    for (std::size_t i = 0; i < n; ++i) total += row_loss[i];
    if (dx == nullptr) continue;
    const detail::LeftRows<T, T> gradient{reinterpret_cast<const T*>(logits), vocab * sizeof(A) / sizeof(T), vocab};
    blocked_product(fastest_product<WordOf<T>>(), n, width, words_in<T>(vocab), gradient,
                    detail::TurnedPanels<T>{w, width}, false, some, width);
    for (std::size_t i = 0; i < n; ++i)
      std::copy_n(some + i * width, width, dx + static_cast<std::size_t>(rows[r0 + i]) * width);
  }
  *loss = static_cast<A>(total / static_cast<double>(count));
}

}  // namespace calm::kernel
