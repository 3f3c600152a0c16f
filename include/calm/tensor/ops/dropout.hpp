/// \file  Dropout, with a mask that is computed again where it is needed.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "calm/tensor/cpu/dropout.hpp"
#include "calm/tensor/error.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X>
struct DropoutNode {
  Slot x_slot;
  float p;
  RandomKey key;
  std::size_t n;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    kernel::dropout_backward(typename X::device{}, n, p, key, tape.template incoming<T>(out),
                             tape.template gradient<T>(x_slot));
  }
};

}  // namespace detail

/// Each element set to 0 with probability p, else divided by 1 - p.   x: [...] -> [...]   (Srivastava et al. 2014)
///
/// The mask is that of `key` alone, on every device: one key, one mask. p = 0 returns x itself; p outside [0, 1) throws
/// `Error`.
template <Operand X>
X dropout(const X& x, double p, RandomKey key) {
  using In = ValueOf<X>;
  detail::require(p >= 0 && p < 1, [&] {
    return "calm::dropout: the probability must be at least 0 and below 1, found " + std::to_string(p);
  });
  if (p == 0) return x;
  const auto rate = static_cast<float>(p);
  In y(value(x).shape());
  const std::size_t n = y.size();
  kernel::dropout(typename In::device{}, n, rate, key, value(x).data(), y.mutable_data());
  if constexpr (is_var<X>)
    return record(tape_of(x), std::move(y), [&] { return detail::DropoutNode<In>{slot_of(x), rate, key, n}; });
  else
    return y;
}

}  // namespace calm
