/// \file  The GPU's products with a matrix that never changes: it lies row behind row, in the type that products read.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/tensor/storage.hpp"

#ifdef CALM_CUDA

namespace calm::kernel {

namespace detail {

/// n elements in T: where they are, or rounded into memory of their own. Null stays null.
template <class T>
class InType {
 public:
  template <class X>
  InType(std::size_t n, const X* x) {
    if constexpr (std::is_same_v<T, X>) {
      data_ = x;
    } else if (x != nullptr) {
      memory_ = Storage<Cuda>(n * sizeof(T));
      auto* const to = static_cast<T*>(memory_.data());
      cast(Cuda{}, n, x, to);
      data_ = to;
    }
  }
  const T* data() const { return data_; }

 private:
  Storage<Cuda> memory_;
  const T* data_ = nullptr;
};

/// y = x · W(ᵀ) (+ y if `add`), sums kept in Accumulator<T> whatever y is in.
template <class T, class R>
void multiply_in(Op op_w, std::size_t rows, std::size_t cols, std::size_t depth, const T* x, const T* w, bool add,
                 R* y) {
  const MatrixRef<const T> left{x, depth}, right{w, op_w == Op::transpose ? depth : cols};
  gemm(Cuda{}, Op::none, op_w, rows, cols, depth, Accumulator<T>(1), left, right, add, MatrixRef<R>{y, cols});
}

}  // namespace detail

/// y = x · Wᵀ (+ y if `add`), x rounded to T.   x: [rows, in], W: [out, in] in T, y: [rows, out]
template <class T, class X>
void multiply_packed(Cuda, std::size_t rows, std::size_t out, std::size_t in, const X* x, const T* w, bool add,
                     Accumulator<T>* y) {
  const detail::InType<T> left(rows * in, x);
  detail::multiply_in(Op::transpose, rows, out, in, left.data(), w, add, y);
}
/// dx = dy · W (+ dx if `add`), dy rounded to T.   dy: [rows, out], W: [out, in] in T, dx: [rows, in]
template <class T, class X>
void multiply_packed_transposed(Cuda, std::size_t rows, std::size_t out, std::size_t in, const X* dy, const T* w,
                                bool add, Accumulator<T>* dx) {
  const detail::InType<T> left(rows * out, dy);
  detail::multiply_in(Op::none, rows, in, out, left.data(), w, add, dx);
}

/// y[i] = the row of W that tokens[i] names.   W: [.., in] in T, y: [n, in]
template <class T>
void unpack_rows(Cuda device, std::size_t n, std::size_t in, const Index* tokens, const T* w, Accumulator<T>* y) {
  if constexpr (std::is_same_v<T, Accumulator<T>>) {
    take_rows(device, n, in, 0, tokens, w, y);
  } else {
    const Storage<Cuda> rows(n * in * sizeof(T));
    take_rows(device, n, in, 0, tokens, w, static_cast<T*>(rows.data()));
    cast(device, n * in, static_cast<const T*>(rows.data()), y);
  }
}

/// As on the host; `all` is how many rows x has.
template <class T>
void packed_cross_entropy(Cuda device, std::size_t all, std::size_t count, std::size_t width, std::size_t vocab,
                          const Index* rows, const Index* wanted, const Accumulator<T>* x, const T* w,
                          Accumulator<T>* dx, double cap, Accumulator<T>* loss) {
  const detail::InType<T> left(all * width, x);
  linear_cross_entropy(device, count, width, vocab, rows, wanted, left.data(), w, dx, nullptr, cap, loss);
}

/// The weights of down · (act(gate · x) * (up · x)): gate and up [inner, width], down [width, inner].
template <class T>
struct FrozenMlp {
  Activation kind;
  std::size_t width, inner;
  const T *gate, *up, *down;
};

/// As on the host, but that gate · x, up · x and what comes of them are all in T.
template <class T>
void packed_mlp(Cuda device, const FrozenMlp<T>& w, std::size_t rows, const Accumulator<T>* x, T* gate_kept, T* up_kept,
                Accumulator<T>* y) {
  const std::size_t wide = rows * w.inner;
  const Storage<Cuda> memory((gate_kept ? 1 : 3) * wide * sizeof(T));
  T* const gated = static_cast<T*>(memory.data());
  T *const g = gate_kept ? gate_kept : gated + wide, *const u = gate_kept ? up_kept : gated + 2 * wide;
  const detail::InType<T> left(rows * w.width, x);
  detail::multiply_in(Op::transpose, rows, w.inner, w.width, left.data(), w.gate, false, g);
  detail::multiply_in(Op::transpose, rows, w.inner, w.width, left.data(), w.up, false, u);
  gate(device, w.kind, wide, static_cast<const T*>(g), static_cast<const T*>(u), gated);
  detail::multiply_in(Op::transpose, rows, w.width, w.inner, static_cast<const T*>(gated), w.down, false, y);
}
template <class T>
void packed_mlp_backward(Cuda device, const FrozenMlp<T>& w, std::size_t rows, const T* gate, const T* up,
                         const Accumulator<T>* dy, bool add, Accumulator<T>* dx) {
  const std::size_t wide = rows * w.inner;
  const Storage<Cuda> memory(3 * wide * sizeof(T));
  T *const dgated = static_cast<T*>(memory.data()), *const dgate = dgated + wide, *const dup = dgate + wide;
  const detail::InType<T> left(rows * w.width, dy);
  detail::multiply_in(Op::none, rows, w.inner, w.width, left.data(), w.down, false, dgated);
  gate_backward(device, w.kind, wide, gate, up, static_cast<const T*>(dgated), dgate, false, dup, false);
  detail::multiply_in(Op::none, rows, w.width, w.inner, static_cast<const T*>(dgate), w.gate, add, dx);
  detail::multiply_in(Op::none, rows, w.width, w.inner, static_cast<const T*>(dup), w.up, true, dx);
}

}  // namespace calm::kernel

#endif
