/// \file  Rows of numbers, a register at a time. `rows.hpp` has this included once for each instruction set; hence no
/// `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/rows.hpp"
#else

namespace calm::kernel::CALM_SET {

/// act(x) and act'(x). silu: x · sigmoid(x). gelu: x · Φ(x), Φ the normal distribution, by erfc, which keeps its digits
/// where Φ is small. gelu_tanh: x/2 · (1 + tanh u) = x · sigmoid(2u), u = sqrt(2/π) · (x + 0.044715 x³).
template <Activation kind, class A>
[[gnu::always_inline]] inline void activate(const RegisterOf<A>& x, RegisterOf<A>& value, RegisterOf<A>& slope) {
  using V = RegisterOf<A>;
  if constexpr (kind == Activation::gelu) {
    V below;
    for (std::size_t i = 0; i < Register<A>::count; ++i) below[i] = A(0.5) * std::erfc(x[i] * A(-0.70710678118654752));
    value = x * below;
    slope = below + x * A(0.39894228040143268) * exp_of<A>(A(-0.5) * x * x);
  } else {
    V inner = x, steep = V{} + A(1);
    if constexpr (kind == Activation::gelu_tanh) {
      inner = A(1.5957691216057308) * (x + A(0.044715) * x * x * x);
      steep = A(1.5957691216057308) * (A(1) + A(0.134145) * x * x);
    }
    const V s = sigmoid_of<A>(inner);
    value = x * s;
    slope = s + value * (A(1) - s) * steep;
  }
}

/// What stands in a row behind its last whole register, with room for a register; null where there is no row.
template <class T, std::size_t Count>
struct Tail {
  T numbers[Count] = {};
  T* row = nullptr;

  Tail(std::size_t n, const T* from) {
    if (!from) return;
    std::memcpy(static_cast<void*>(numbers), from, n * sizeof(T));
    row = numbers;
  }
  void write(std::size_t n, T* to) const {
    if (row) std::memcpy(static_cast<void*>(to), numbers, n * sizeof(T));
  }
};

struct Rows {
  /// y = x, rounded to nearest even where Y is narrower.
  template <class A, class Y>
  static void cast(std::size_t n, const A* x, Y* y) {
    constexpr std::size_t count = Register<A>::count;
    std::size_t i = 0;
    for (; i + count <= n; i += count) store_as<A>(Register<A>::load(x + i), y + i);
    if (i == n) return;
    const Tail<A, count> from(n - i, x + i);
    Tail<Y, count> to(n - i, y + i);
    cast(count, from.row, to.row);
    to.write(n - i, y + i);
  }

  /// z = x + factor · y
  template <class A, class T, class Y>
  static void add(std::size_t n, const T* x, A factor, const Y* y, T* z) {
    constexpr std::size_t count = Register<A>::count;
    std::size_t i = 0;
    for (; i + count <= n; i += count) store_as<A>(load_as<A>(x + i) + factor * load_as<A>(y + i), z + i);
    for (; i < n; ++i) z[i] = static_cast<T>(A(x[i]) + factor * A(y[i]));
  }

  /// Σ x · y
  template <class A, class T>
  static A dot(std::size_t n, const T* x, const T* y) {
    constexpr std::size_t count = Register<A>::count;
    RegisterOf<A> sum{};
    std::size_t i = 0;
    for (; i + count <= n; i += count) sum += load_as<A>(x + i) * load_as<A>(y + i);
    A total = sum_across<A>(sum);
    for (; i < n; ++i) total += A(x[i]) * A(y[i]);
    return total;
  }

  /// y = x with its pairs (k · step, k · step + other) turned by angles of these cosines and sines, or turned back (+ y
  /// if `add`); y may be x.
  template <class A, class T>
  static void turn(std::size_t pairs, std::size_t step, std::size_t other, const A* cosine, const A* sine, bool back,
                   bool add, const T* x, T* y) {
    constexpr std::size_t count = Register<A>::count;
    const A sign = back ? A(-1) : A(1);
    std::size_t k = 0;
    for (; step == 1 && k + count <= pairs; k += count) {
      const RegisterOf<A> a = load_as<A>(x + k), b = load_as<A>(x + other + k);
      const RegisterOf<A> c = Register<A>::load(cosine + k), s = sign * Register<A>::load(sine + k);
      RegisterOf<A> first = a * c - b * s, second = b * c + a * s;
      if (add) first += load_as<A>(y + k), second += load_as<A>(y + other + k);
      store_as<A>(first, y + k), store_as<A>(second, y + other + k);
    }
    for (; k < pairs; ++k) {
      const A a = A(x[k * step]), b = A(x[k * step + other]), c = cosine[k], s = sign * sine[k];
      T &first = y[k * step], &second = y[k * step + other];
      first = static_cast<T>(a * c - b * s + (add ? A(first) : A(0)));
      second = static_cast<T>(b * c + a * s + (add ? A(second) : A(0)));
    }
  }

  /// y = act(x) · up; `up` null: 1. Keeps both operands, or none where both places are null.
  template <class A, class T, class Y>
  static void gate(Activation kind, std::size_t n, const T* x, const T* up, Y* x_kept, Y* up_kept, Y* y) {
    const auto whole = kind == Activation::silu   ? gate_registers<Activation::silu, A, T, Y>
                       : kind == Activation::gelu ? gate_registers<Activation::gelu, A, T, Y>
                                                  : gate_registers<Activation::gelu_tanh, A, T, Y>;
    const std::size_t i = whole(n, x, up, x_kept, up_kept, y), rest = n - i;
    if (rest == 0) return;
    constexpr std::size_t count = Register<A>::count;
    const Tail<T, count> g(rest, x + i), u(rest, detail::behind(up, i));
    Tail<Y, count> g_kept(rest, detail::behind(x_kept, i)), u_kept(rest, detail::behind(up_kept, i)), to(rest, y + i);
    whole(count, g.row, u.row, g_kept.row, u_kept.row, to.row);
    g_kept.write(rest, detail::behind(x_kept, i)), u_kept.write(rest, detail::behind(up_kept, i)),
        to.write(rest, y + i);
  }

  /// dx = act'(x) · up · dy, dup = act(x) · dy, added to what stands there if `add`; `up`, dx and dup may be null, and
  /// dy may be dx or dup.
  template <class A, class T, class Y>
  static void gate_backward(Activation kind, std::size_t n, const T* x, const T* up, const Y* dy, bool add, T* dx,
                            T* dup) {
    const auto whole = kind == Activation::silu   ? gate_backward_registers<Activation::silu, A, T, Y>
                       : kind == Activation::gelu ? gate_backward_registers<Activation::gelu, A, T, Y>
                                                  : gate_backward_registers<Activation::gelu_tanh, A, T, Y>;
    const std::size_t i = whole(n, x, up, dy, add, dx, dup), rest = n - i;
    if (rest == 0) return;
    constexpr std::size_t count = Register<A>::count;
    const Tail<T, count> g(rest, x + i), u(rest, detail::behind(up, i));
    const Tail<Y, count> d(rest, dy + i);
    Tail<T, count> to_x(rest, detail::behind(dx, i)), to_up(rest, dup == dx ? nullptr : detail::behind(dup, i));
    whole(count, g.row, u.row, d.row, add, to_x.row, dup == dx ? to_x.row : to_up.row);
    to_x.write(rest, detail::behind(dx, i)), to_up.write(rest, detail::behind(dup, i));
  }

  /// x = e^(x - top); returns their sum. Interleaved sums are folded into a double every 1024 numbers, so that float
  /// loses little.
  template <class A>
  static A exponentials(std::size_t n, A top, A* x) {
    constexpr std::size_t count = Register<A>::count;
    double total = 0;
    std::size_t i = 0;
    while (i + count <= n) {
      const std::size_t last = std::min(n - count, i + 1024 - count);
      RegisterOf<A> sum{};
      for (; i <= last; i += count) {
        const RegisterOf<A> y = exp_of<A>(Register<A>::load(x + i) - top);
        Register<A>::store(y, x + i);
        sum += y;
      }
      total += static_cast<double>(sum_across<A>(sum));
    }
    if (i == n) return static_cast<A>(total);
    Tail<A, count> rest(n - i, x + i);
    exponentials(count, top, rest.row);
    rest.write(n - i, x + i);
    for (; i < n; ++i) total += static_cast<double>(x[i]);
    return static_cast<A>(total);
  }

 private:
  // The whole registers of `gate` and `gate_backward`; how many numbers these are. One loop for each activation: a call
  // of erfc in it would have all others keep their constants in memory.
  template <Activation kind, class A, class T, class Y>
  static std::size_t gate_registers(std::size_t n, const T* x, const T* up, Y* x_kept, Y* up_kept, Y* y) {
    constexpr std::size_t count = Register<A>::count;
    std::size_t i = 0;
    for (; i + count <= n; i += count) {
      RegisterOf<A> g = load_as<A>(x + i), u = RegisterOf<A>{} + A(1), value, slope;
      if (up) u = load_as<A>(up + i);
      if (x_kept) store_as<A>(g, x_kept + i), store_as<A>(u, up_kept + i);
      activate<kind, A>(g, value, slope);
      store_as<A>(value * u, y + i);
    }
    return i;
  }
  template <Activation kind, class A, class T, class Y>
  static std::size_t gate_backward_registers(std::size_t n, const T* x, const T* up, const Y* dy, bool add, T* dx,
                                             T* dup) {
    constexpr std::size_t count = Register<A>::count;
    std::size_t i = 0;
    for (; i + count <= n; i += count) {
      RegisterOf<A> d = load_as<A>(dy + i), value, slope;
      activate<kind, A>(load_as<A>(x + i), value, slope);
      value *= d, slope *= d;
      if (up) slope *= load_as<A>(up + i);
      if (dx) store_as<A>(add ? load_as<A>(dx + i) + slope : slope, dx + i);
      if (dup) store_as<A>(add ? load_as<A>(dup + i) + value : value, dup + i);  // which may be dx, so in this order
    }
    return i;
  }
};

}  // namespace calm::kernel::CALM_SET

#endif
