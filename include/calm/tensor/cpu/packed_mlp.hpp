/// \file  The host's gated feed-forward layer with packed weights: all that is wide stands in memory some rows at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/cpu/cast.hpp"
#include "calm/tensor/cpu/packed.hpp"
#include "calm/tensor/cpu/sum.hpp"  // rows_per_thread
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

/// Calls f(first, n) for blocks of a row of `cols` that stand in the first cache, of each of `rows` rows.
template <class F>
void each_block(std::size_t rows, std::size_t cols, const F& f) {
  constexpr std::size_t block = 256;
  parallel_ranges(rows, rows_per_thread(cols), [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin * cols; i < end * cols; i += block) f(i, std::min(block, end * cols - i));
  });
}

/// y = act(gate) · up; keeps both operands in T where there is room (not null).
template <class T, class Act, class A>
void gate_rows(Act act, std::size_t rows, std::size_t cols, const A* gate, const A* up, T* gate_kept, T* up_kept,
               T* y) {
  each_block(rows, cols, [=](std::size_t at, std::size_t n) {
    const A *g = gate + at, *u = up + at;
    A gated[256];
    for (std::size_t i = 0; i < n; ++i) gated[i] = act.value(g[i]) * u[i];
    if (gate_kept) {
      store_row(n, g, gate_kept + at);
      store_row(n, u, up_kept + at);
    }
    store_row(n, gated, y + at);
  });
}

/// dgate = act'(gate) · up · dy, dup = act(gate) · dy; dy may be one of them.
template <class T, class Act, class A>
void gate_rows_backward(Act act, std::size_t rows, std::size_t cols, const T* gate, const T* up, const A* dy, T* dgate,
                        T* dup) {
  each_block(rows, cols, [=](std::size_t at, std::size_t n) {
    A to_gate[256], to_up[256];
    for (std::size_t i = 0; i < n; ++i) {
      const A g = A(gate[at + i]), d = dy[at + i];
      to_gate[i] = act.slope(g) * A(up[at + i]) * d;
      to_up[i] = act.value(g) * d;
    }
    store_row(n, to_gate, dgate + at);
    store_row(n, to_up, dup + at);
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
    multiply_packed<T>(device, n, w.inner, w.width, x + r * w.width, w.gate, false, gate);
    multiply_packed<T>(device, n, w.inner, w.width, x + r * w.width, w.up, false, up);
    detail::with_activation(w.kind, [&](auto act) {
      detail::gate_rows<T>(act, n, w.inner, gate, up, gate_kept ? gate_kept + at : nullptr,
                           up_kept ? up_kept + at : nullptr, gated);
    });
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
    detail::with_activation(w.kind, [&](auto act) {
      detail::gate_rows_backward<T>(act, n, w.inner, gate + at, up + at, dgated, dgate, dup);
    });
    multiply_packed_transposed<T>(device, n, w.inner, w.width, dgate, w.gate, add, dx + r * w.width);
    multiply_packed_transposed<T>(device, n, w.inner, w.width, dup, w.up, true, dx + r * w.width);
  }
}

}  // namespace calm::kernel
