/// \file  Lists of operands: what operations on any number of tensors of one type share.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/many.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// How many operands a list may have: nodes keep what they need of each in place.
inline constexpr std::size_t most_operands = kernel::most_arrays;

/// A short list of operands of one type, in place: making one asks nobody for memory.
template <Operand X>
class OperandList {
 public:
  using value_type = X;

  /// Throws `Error` where it is full.
  void push_back(X x) {
    detail::require(size_ < most_operands,
                    [] { return "calm::OperandList: more than " + std::to_string(most_operands) + " operands"; });
    items_[size_++] = std::move(x);
  }
  std::size_t size() const { return size_; }
  const X& operator[](std::size_t i) const { return items_[i]; }
  const X* data() const { return items_.data(); }
  const X* begin() const { return items_.data(); }
  const X* end() const { return items_.data() + size_; }

 private:
  std::array<X, most_operands> items_{};
  std::size_t size_ = 0;
};

/// Operands of one type, side by side: an `OperandList`, a `std::array`, a `std::vector`, a `std::span`.
template <class List>
concept Operands = requires { typename List::value_type; } && Operand<typename List::value_type> &&
                   std::is_constructible_v<std::span<const typename List::value_type>, const List&>;

/// The tensor type behind the operands of a list.
template <class List>
using ItemOf = ValueOf<typename List::value_type>;

namespace detail {

template <class List>
std::span<const typename List::value_type> span_of(const List& list) {
  return std::span<const typename List::value_type>(list);
}

/// Requires between one and `most_operands` operands, all of one shape.
template <class X>
void check_list(const char* name, std::span<const X> list) {
  require(!list.empty() && list.size() <= most_operands, [&] {
    return std::string(name) + ": expected 1 to " + std::to_string(most_operands) + " operands, found " +
           std::to_string(list.size());
  });
  for (const X& x : list) {
    require(value(x).shape() == value(list.front()).shape(), [&] {
      return std::string(name) + ": dynamic extents differ: " + std::to_string(value(list.front()).size()) + " and " +
             std::to_string(value(x).size()) + " elements";
    });
  }
}

/// The tape that the operands of a list, and others, were recorded on; null if none was.
template <class X, class... Others>
auto tape_of_all(std::span<const X> list, const Others&... others) {
  auto* tape = tape_of(list.front(), others...);
  for (const X& x : list.subspan(1)) tape = tape_of(list.front(), x, others...);
  return tape;
}

/// The elements of each operand of a list.
template <class X>
auto data_of(std::span<const X> list) {
  std::array<const typename ValueOf<X>::value_type*, most_operands> data{};
  for (std::size_t i = 0; i < list.size(); ++i) data[i] = value(list[i]).data();
  return data;
}

/// The slot of each operand's gradient.
template <class X>
std::array<Slot, most_operands> slots_of(std::span<const X> list) {
  std::array<Slot, most_operands> slots{};
  for (std::size_t i = 0; i < list.size(); ++i) slots[i] = slot_of(list[i]);
  return slots;
}

/// The gradients of `n` slots, to add to.
template <class T, class Device>
std::array<T*, most_operands> gradients_of(Tape<Device>& tape, std::size_t n, const Slot* slots) {
  std::array<T*, most_operands> gradients{};
  for (std::size_t i = 0; i < n; ++i) gradients[i] = tape.template gradient<T>(slots[i]);
  return gradients;
}

}  // namespace detail
}  // namespace calm
