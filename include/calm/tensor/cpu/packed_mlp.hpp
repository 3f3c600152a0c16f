/// \file  The host's gated feed-forward layer with packed weights: all that is wide stands in memory some rows at a
/// time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/cpu/cast.hpp"
#include "calm/tensor/cpu/packed.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

/// The weights of down · (act(gate · x) * (up · x)), packed in T: gate and up [inner, width], down [width, inner].
template <class T>
struct PackedMlp {
  Activation kind;
  std::size_t width, inner;
  const WordOf<T>*gate, *up, *down;
};

namespace detail {

/// Rows at a time: what stands between two products stays in the last cache, and each weight is still read seldom.
inline constexpr std::size_t mlp_rows = 512;

/// gated = act(gate · x) * (up · x) for a few rows: each thread gates what it has multiplied.   all: [rows, inner]
template <class T>
void gate_few_rows(const PackedMlp<T>& w, std::size_t rows, const Accumulator<T>* x, Accumulator<T>* gate,
                   Accumulator<T>* up, T* gate_kept, T* up_kept, T* gated) {
  const std::size_t panels = panels_in(w.inner), grain = few_rows_grain(2 * words_in<T>(w.width));
  parallel_ranges(panels, grain, [=](std::size_t begin, std::size_t end) {
    multiply_panels_of<T>({w.gate, w.inner, gate}, rows, w.width, x, begin, end);
    multiply_panels_of<T>({w.up, w.inner, up}, rows, w.width, x, begin, end);
    const std::size_t first = begin * panel_width, count = std::min(end * panel_width, w.inner) - first;
    with_row_kernels([&](auto set) {
      for (std::size_t at = first; at < rows * w.inner; at += w.inner) {
        set.template gate<Accumulator<T>>(w.kind, count, gate + at, up + at, behind(gate_kept, at), behind(up_kept, at),
                                          gated + at);
      }
    });
  });
}

}  // namespace detail

/// y = down · (act(gate · x) * (up · x)), as products of whole matrices make it, to the bit. `gate_kept` and `up_kept`
/// (both, or null) take gate · x and up · x, which the backward pass reads.
///
/// x, y: [rows, width], kept: [rows, inner]
template <class T>
void packed_mlp(Cpu device, const PackedMlp<T>& w, std::size_t rows, const Accumulator<T>* x, T* gate_kept, T* up_kept,
                Accumulator<T>* y) {
  using A = Accumulator<T>;
  const std::size_t most = std::min(rows, detail::mlp_rows) * w.inner;
  const Storage<Cpu> wide(2 * most * sizeof(A)), narrow(std::is_same_v<T, A> ? 0 : most * sizeof(T));
  A *gate = static_cast<A*>(wide.data()), *up = gate + most;
  T* gated = static_cast<T*>(std::is_same_v<T, A> ? wide.data() : narrow.data());
  for (std::size_t r = 0; r < rows; r += detail::mlp_rows) {
    const std::size_t n = std::min(detail::mlp_rows, rows - r), at = r * w.inner;
    T *const gate_to = detail::behind(gate_kept, at), *const up_to = detail::behind(up_kept, at);
    if (detail::are_few(n)) {
      detail::gate_few_rows(w, n, x + r * w.width, gate, up, gate_to, up_to, gated);
    } else {
      multiply_packed<T>(device, n, w.inner, w.width, x + r * w.width, w.gate, false, gate);
      multiply_packed<T>(device, n, w.inner, w.width, x + r * w.width, w.up, false, up);
      detail::gate_rows<A, A, T>(w.kind, n * w.inner, gate, up, gate_to, up_to, gated);
    }
    multiply_packed<T>(device, n, w.width, w.inner, gated, w.down, false, y + r * w.width);
  }
}

/// dx = the gradient of x for that of y (+ dx if `add`), from what the forward pass kept.
///
/// dy, dx: [rows, width], gate, up: [rows, inner]
template <class T>
void packed_mlp_backward(Cpu device, const PackedMlp<T>& w, std::size_t rows, const T* gate, const T* up,
                         const Accumulator<T>* dy, bool add, Accumulator<T>* dx) {
  using A = Accumulator<T>;
  constexpr bool same = std::is_same_v<T, A>;
  const std::size_t most = std::min(rows, detail::mlp_rows) * w.inner;
  const Storage<Cpu> wide(most * sizeof(A)), narrow((same ? 1 : 2) * most * sizeof(T));
  A* const dgated = static_cast<A*>(wide.data());
  T* const dup = static_cast<T*>(narrow.data());
  T* const dgate = same ? static_cast<T*>(wide.data()) : dup + most;
  for (std::size_t r = 0; r < rows; r += detail::mlp_rows) {
    const std::size_t n = std::min(detail::mlp_rows, rows - r), at = r * w.inner;
    multiply_packed_transposed<T>(device, n, w.width, w.inner, dy + r * w.width, w.down, false, dgated);
    detail::gate_rows_backward<A>(w.kind, n * w.inner, gate + at, up + at, dgated, false, dgate, dup);
    multiply_packed_transposed<T>(device, n, w.inner, w.width, dgate, w.gate, add, dx + r * w.width);
    multiply_packed_transposed<T>(device, n, w.inner, w.width, dup, w.up, true, dx + r * w.width);
  }
}

}  // namespace calm::kernel
