/// \file  Host kernels for activations, alone and as gates.
#pragma once

#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/memory.hpp"  // fill
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/cpu/rows.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

namespace detail {

/// Calls f(i) for i in [0, n), cut among threads.
template <class F>
void each(std::size_t n, const F& f) {
  parallel_ranges(n, 1 << 13, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) f(i);
  });
}

/// y = act(gate) · up; `up` null: 1. Keeps both operands, or none where both places are null.
template <class A, class T, class Y>
void gate_rows(Activation kind, std::size_t n, const T* gate, const T* up, Y* gate_kept, Y* up_kept, Y* y) {
  parallel_ranges(n, 1 << 13, [=](std::size_t i, std::size_t end) {
    with_row_kernels([&](auto set) {
      set.template gate<A>(kind, end - i, gate + i, behind(up, i), behind(gate_kept, i), behind(up_kept, i), y + i);
    });
  });
}

/// dgate = act'(gate) · up · dy, dup = act(gate) · dy, added to what stands there if `add`; `up`, dgate and dup may be
/// null, and dy may be dgate or dup.
template <class A, class T, class Y>
void gate_rows_backward(Activation kind, std::size_t n, const T* gate, const T* up, const Y* dy, bool add, T* dgate,
                        T* dup) {
  parallel_ranges(n, 1 << 13, [=](std::size_t i, std::size_t end) {
    with_row_kernels([&](auto set) {
      set.template gate_backward<A>(kind, end - i, gate + i, behind(up, i), dy + i, add, behind(dgate, i),
                                    behind(dup, i));
    });
  });
}

}  // namespace detail

/// y = act(x)
template <class T>
void activate(Cpu, Activation kind, std::size_t n, const T* x, T* y) {
  detail::gate_rows<Accumulator<T>, T, T>(kind, n, x, nullptr, nullptr, nullptr, y);
}

/// dx = act'(x) · dy (+ dx if `add`); dx may be dy
template <class T>
void activate_backward(Cpu, Activation kind, std::size_t n, const T* x, const T* dy, T* dx, bool add = true) {
  detail::gate_rows_backward<Accumulator<T>, T>(kind, n, x, nullptr, dy, add, dx, nullptr);
}

/// y = act(gate) · up
template <class T>
void gate(Cpu, Activation kind, std::size_t n, const T* gate, const T* up, T* y) {
  detail::gate_rows<Accumulator<T>, T, T>(kind, n, gate, up, nullptr, nullptr, y);
}

/// dgate += act'(gate) · up · dy
template <class T>
void gate_backward(Cpu, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate) {
  detail::gate_rows_backward<Accumulator<T>, T>(kind, n, gate, up, dy, true, dgate, nullptr);
}

/// Both of the above and below in one pass; each is added to what stands there, or written.
template <class T>
void gate_backward(Cpu device, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate,
                   bool adds_gate, T* dup, bool adds_up) {
  const bool add = adds_gate || adds_up;
  if (add && !adds_gate) fill(device, n, T{}, dgate);
  if (add && !adds_up) fill(device, n, T{}, dup);
  detail::gate_rows_backward<Accumulator<T>, T>(kind, n, gate, up, dy, add, dgate, dup);
}

/// y = act(gate) · up, where each row of `both` is one of `cols` gates and `cols` numbers to be gated
template <class T>
void gate_pairs(Cpu, Activation kind, std::size_t rows, std::size_t cols, const T* both, T* y) {
  parallel_ranges(rows, (1 << 13) / (cols + 1) + 1, [=](std::size_t begin, std::size_t end) {
    detail::with_row_kernels([&](auto set) {
      for (std::size_t r = begin; r < end; ++r) {
        const T* const gate = both + 2 * r * cols;
        set.template gate<Accumulator<T>, T, T>(kind, cols, gate, gate + cols, nullptr, nullptr, y + r * cols);
      }
    });
  });
}

/// Both gradients of that, written; dboth may be both.
template <class T>
void gate_pairs_backward(Cpu, Activation kind, std::size_t rows, std::size_t cols, const T* both, const T* dy,
                         T* dboth) {
  parallel_ranges(rows, (1 << 13) / (cols + 1) + 1, [=](std::size_t begin, std::size_t end) {
    detail::with_row_kernels([&](auto set) {
      for (std::size_t r = begin; r < end; ++r) {
        const T* const gate = both + 2 * r * cols;
        T* const dgate = dboth + 2 * r * cols;
        set.template gate_backward<Accumulator<T>>(kind, cols, gate, gate + cols, dy + r * cols, false, dgate,
                                                   dgate + cols);
      }
    });
  });
}

/// dup += act(gate) · dy
template <class T>
void gate_backward_up(Cpu, Activation kind, std::size_t n, const T* gate, const T* dy, T* dup) {
  detail::gate_rows_backward<Accumulator<T>, T>(kind, n, gate, nullptr, dy, true, nullptr, dup);
}

}  // namespace calm::kernel
