/// \file  A sum that does not depend on the order of its terms, and its counterpart: one value for several readers.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <utility>

#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/symmetric_sum.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/ops/many.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

namespace detail {

template <class X>
struct SymmetricSumNode {
  std::array<Slot, most_operands> slots;
  std::size_t count, size;

  void backward(Tape<typename X::device>& tape, Slot out) {
    using T = typename X::value_type;
    const T* dy = tape.template incoming<T>(out);
    for (std::size_t j = 1; j < count; ++j) {
      kernel::axpy(typename X::device{}, size, one<T>, dy, tape.template gradient<T>(slots[j]));
    }
    tape.template pass_on<T>(out, slots[0]);
  }
};

/// Adds up the gradients of all copies that one came for, in the memory of the first of these.
template <class X>
struct FanOutNode {
  static constexpr bool several_results = true;

  std::array<Slot, most_operands> copies;
  std::size_t count;
  Slot x_slot;
  std::size_t size;

  void backward(Tape<typename X::device>& tape, Slot) {
    using T = typename X::value_type;
    std::array<const T*, most_operands> arrived{};
    std::size_t n = 0;
    Slot first = 0;
    for (std::size_t j = 0; j < count; ++j) {
      const T* d = tape.template incoming<T>(copies[j]);
      if (d == nullptr) continue;
      if (n == 0) first = copies[j];
      arrived[n++] = d;
    }
    if (n > 1) {
      kernel::symmetric_sum(typename X::device{}, n, size, arrived.data(), tape.template gradient<T>(first));
    }
    if (n > 0) tape.template pass_on<T>(first, x_slot);
    for (std::size_t j = 0; j < count; ++j) tape.release(copies[j]);
  }
};

}  // namespace detail

/// Σ_j x_j, elementwise; the order of the operands changes no bit of it.
///
/// list: a list (`Operands`) of 1 to 32 times [...] -> [...]; throws `Error` for more or none
template <Operands List>
typename List::value_type symmetric_sum(const List& list) {
  using X = typename List::value_type;
  using In = ValueOf<X>;
  const auto operands = detail::span_of(list);
  detail::check_list("calm::symmetric_sum", operands);
  if (operands.size() == 1) return operands.front();
  In y(value(operands.front()).shape());
  const std::size_t size = y.size();
  kernel::symmetric_sum(typename In::device{}, operands.size(), size, detail::data_of(operands).data(),
                        y.mutable_data());
  if constexpr (is_var<X>) {
    return record(detail::tape_of_all(operands), std::move(y), [&] {
      return detail::SymmetricSumNode<In>{detail::slots_of(operands), operands.size(), size};
    });
  } else {
    return y;
  }
}

/// n + 1 times x, for n readers and what goes on without them. Their gradients are added up as by `symmetric_sum`, so
/// the order of the readers changes no bit of x's; those that no gradient came for do not count.
///
/// x: [...] -> a list of [...] that share its memory
template <Operand X>
OperandList<X> fan_out(const X& x, std::size_t n) {
  detail::require(n < most_operands, [&] {
    return "calm::fan_out: expected at most " + std::to_string(most_operands - 1) + " readers, found " +
           std::to_string(n);
  });
  OperandList<X> copies;
  if constexpr (is_var<X>) {
    if (x.tape != nullptr && n > 0) {
      using In = ValueOf<X>;
      const std::size_t size = x.value.size();
      for (std::size_t j = 0; j <= n; ++j) {
        copies.push_back({x.value, x.tape, x.tape->new_slot(size * sizeof(typename In::value_type))});
      }
      const auto slots = detail::slots_of(detail::span_of(copies));
      x.tape->push(detail::FanOutNode<In>{slots, n + 1, x.slot, size}, slots[0]);
      return copies;
    }
  }
  for (std::size_t j = 0; j <= n; ++j) copies.push_back(x);
  return copies;
}

}  // namespace calm
