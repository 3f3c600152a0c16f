/// \file  A product and what follows it: one kernel where the device has it, else in turn.
#pragma once

#include <cstddef>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/cpu/activation.hpp"
#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/cpu/reduce.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/tape.hpp"

namespace calm::detail {

/// sum[c] = Σ_r x[r, c]
template <class Device, class T>
void write_column_sums(Device device, std::size_t rows, std::size_t cols, const T* x, T* sum) {
  kernel::fill(device, cols, T{}, sum);
  kernel::sum_rows(device, rows, cols, x, sum);
}

/// The product and `e`, with compact matrices.
template <class T, class Device>
void multiply_then(const kernel::Epilogue<T>& e, Device device, kernel::Op op_a, kernel::Op op_b, std::size_t m,
                   std::size_t n, std::size_t k, const T* a, const T* b, bool accumulate, T* c) {
  using kernel::After;
  using kernel::Op;
  const kernel::MatrixRef<const T> left{a, op_a == Op::none ? k : m}, right{b, op_b == Op::none ? n : k};
  const kernel::MatrixRef<T> result{c, n};
  if constexpr (requires { fused_gemm(device, op_a, op_b, m, n, k, left, right, accumulate, result, e); }) {
    if (fused_gemm(device, op_a, op_b, m, n, k, left, right, accumulate, result, e)) return;
  }
  if (e.after == After::activation) {
    T* const before = e.before ? e.before : c;
    multiply_then({.after = After::bias, .bias = e.bias}, device, op_a, op_b, m, n, k, a, b, accumulate, before);
    kernel::activate(device, e.kind, m * n, before, c);
    return;
  }
  kernel::gemm(device, op_a, op_b, m, n, k, one<T>, left, right, accumulate, result);
  switch (e.after) {
    case After::bias: return kernel::add_scaled(device, m * n, n, c, e.bias, one<T>, c);
    case After::sums_of_a: return write_column_sums(device, k, m, a, e.sums);
    case After::sums_of_b: return write_column_sums(device, k, n, b, e.sums);
    default: kernel::activate_backward(device, e.kind, m * n, e.before, c, c, false);
  }
  if (e.sums) write_column_sums(device, m, n, c, e.sums);
}

/// Calls f(sums) with where `n` sums are to be written that belong to the gradient of `slot`.
template <class T, class Device, class F>
void add_written(Tape<Device>& tape, Slot slot, std::size_t n, const F& f) {
  const auto to = tape.template target<T>(slot);
  if (!to.adds) return f(to.data);
  const Storage<Device> written(n * sizeof(T));
  f(static_cast<T*>(written.data()));
  kernel::add_to(Device{}, n, static_cast<const T*>(written.data()), to.data);
}

}  // namespace calm::detail
