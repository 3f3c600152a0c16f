/// \file  Values with and without a gradient, and the parameters that modules hold.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/tape.hpp"
#include "calm/tensor/tensor.hpp"

namespace calm {

/// A tensor whose gradient somebody needs. Operations that meet one record what that gradient takes, and no more.
template <class T>
struct Var {
  using tensor_type = T;
  using device = typename T::device;

  T value;
  Tape<device>* tape = nullptr;  ///< null outside a recording: plain inference
  Slot slot = 0;
};

namespace detail {

template <class X>
inline constexpr bool is_var = false;
template <class T>
inline constexpr bool is_var<Var<T>> = true;

template <class X>
struct BehindOperand {
  using type = X;
};
template <class T>
struct BehindOperand<Var<T>> {
  using type = T;
};

}  // namespace detail

/// True of `Var`s: values with a gradient.
template <class X>
inline constexpr bool is_var = detail::is_var<std::remove_cvref_t<X>>;

/// What operations take: a `Tensor` or a `Var` of one.
template <class X>
concept Operand = detail::is_tensor<std::remove_cvref_t<X>> || detail::is_var<std::remove_cvref_t<X>>;

/// The tensor type behind an operand.
template <class X>
using ValueOf = typename detail::BehindOperand<std::remove_cvref_t<X>>::type;

/// The tensor behind an operand.
template <Operand X>
const ValueOf<X>& value(const X& x) {
  if constexpr (is_var<X>)
    return x.value;
  else
    return x;
}

/// The slot of an operand's gradient; 0 for a tensor.
template <Operand X>
Slot slot_of(const X& x) {
  if constexpr (is_var<X>)
    return x.slot;
  else
    return 0;
}

namespace detail {

template <class T>
struct Nothing {
  Nothing() = default;
  template <class U>
  explicit Nothing(const U&) {}
};

}  // namespace detail

/// A node's member that exists only if a gradient needs it; declare it `[[no_unique_address]]`. The tag keeps two
/// empty members of one node apart, so that neither takes room.
template <bool Needed, class T, int Tag = 0>
using KeepIf = std::conditional_t<Needed, T, detail::Nothing<std::pair<T, std::integral_constant<int, Tag>>>>;

namespace detail {

inline void require_one_recording(bool one) {
  require(one, [] {
    return std::string("calm: an operation mixes a value recorded on a tape with one made outside the recording");
  });
}

}  // namespace detail

/// The tape that the operands were recorded on; null if none was. Throws `Error` for a mix of recorded variables and
/// others.
template <Operand... X>
auto tape_of(const X&... x) {
  using Device = typename std::tuple_element_t<0, std::tuple<ValueOf<X>...>>::device;
  Tape<Device>* tape = nullptr;
  bool outside = false;
  auto look = [&](const auto& operand) {
    if constexpr (is_var<decltype(operand)>) {
      if (operand.tape == nullptr) outside = true;
      else tape = operand.tape;
    }
  };
  (look(x), ...);
  detail::require_one_recording(!(tape && outside));
  return tape;
}

/// The result of an operation: `value`, with `make_node()` put on `tape` unless it is null.
template <class T, class MakeNode>
Var<T> record(Tape<typename T::device>* tape, T value, MakeNode&& make_node) {
  if (tape == nullptr) return {std::move(value), nullptr, 0};
  const Slot slot = tape->new_slot(value.size() * sizeof(typename T::value_type));
  tape->push(make_node(), slot);
  return {std::move(value), tape, slot};
}

/// A tensor where a variable is wanted: a leaf whose gradient nobody reads.
template <class T>
Var<T> as_var(T value) {
  auto* tape = Tape<typename T::device>::active();
  if (tape == nullptr) return {std::move(value), nullptr, 0};
  const Slot slot = tape->new_slot(value.size() * sizeof(typename T::value_type));
  return {std::move(value), tape, slot};
}

/// Runs the backward pass from a scalar loss that counts `share` times. Gradients add up in the parameters; the tape is
/// empty afterwards. Throws `Error` if the loss was computed outside a recording.   loss: [One]
template <Operand Loss>
void backward(const Loss& loss, double share = 1) {
  static_assert(is_var<Loss>,
                "calm::backward: the loss is a Tensor, so nothing that it was computed from is trainable");
  using T = ValueOf<Loss>;
  static_assert(T::rank == 1 && LastAxisOf<T>::extent == 1, "calm::backward: the loss must be a scalar (axis One)");
  if constexpr (is_var<Loss>) {
    detail::require(loss.tape != nullptr, [] {
      return std::string("calm::backward: the loss was computed outside a recording; hold tape.record() around it");
    });
    using Number = typename T::value_type;
    loss.tape->template backward<Number>(loss.slot, static_cast<Number>(static_cast<Accumulator<Number>>(share)));
  }
}

/// Modes: what the parameters of a module are.
struct Frozen {};     ///< read-only tensors; gradients flow through them, never into them
struct Trainable {};  ///< variables

/// A parameter that is read and never written: an operand of type `Tensor`, without a gradient to ask for.
template <class T>
class FrozenParameter {
 public:
  using tensor_type = T;
  static constexpr bool trainable = false;

  const T& operator()() const { return value_; }
  const T& value() const { return value_; }
  /// Puts another tensor in place, as loading does; the elements of the old one are not touched.
  void assign(T value) { value_ = std::move(value); }

 private:
  T value_;
};

namespace detail {

/// Which values a parameter has: another number each time they change, or 0 where nobody knows when they do. That stays
/// so whatever is assigned: who may write them at any time still may.
class Stamp {
 public:
  Stamp() = default;
  Stamp(const Stamp&) = default;
  Stamp& operator=(const Stamp& other) {
    if (number_ != 0) number_ = other.number_;
    return *this;
  }

  std::uint64_t number() const { return number_; }
  void change() {
    if (number_ != 0) number_ = next();
  }
  void forget() { number_ = 0; }

 private:
  static std::uint64_t next() {
    static constinit std::atomic<std::uint64_t> last{0};
    return ++last;
  }

  std::uint64_t number_ = next();
};

}  // namespace detail

/// A parameter that training changes: an operand of type `Var`.
template <class T>
class TrainableParameter {
 public:
  using tensor_type = T;
  using device = typename T::device;
  static constexpr bool trainable = true;

  /// The parameter as an operand, on the active tape if there is one.
  Var<T> operator()() const {
    Tape<device>* tape = Tape<device>::active();
    if (tape == nullptr) return {value_, nullptr, 0};
    if (tape->epoch() != epoch_) {
      gradient_.bytes = value_.size() * sizeof(typename T::value_type);
      slot_ = tape->new_leaf(gradient_);
      epoch_ = tape->epoch();
    }
    return {value_, tape, slot_};
  }

  const T& value() const { return value_; }
  /// To be written, now or whenever the caller likes: from here on nobody knows when the values change.
  T& mutable_value() {
    stamp_.forget();
    return value_;
  }
  void assign(T value) {
    value_ = std::move(value);
    changed();
  }
  /// To be called by who writes the values otherwise.
  void changed() { stamp_.change(); }
  /// Parameters with equal stamps have equal values, today as ever; 0: not known.
  std::uint64_t stamp() const { return stamp_.number(); }

  /// The accumulated gradient, or null where none has arrived (it is zero).
  const typename T::value_type* gradient() const { return gradient_.template data<typename T::value_type>(); }
  GradientBuffer<device>& gradient_buffer() { return gradient_; }
  void zero_gradient() { gradient_.ready = false; }

 private:
  T value_;
  detail::Stamp stamp_;
  mutable GradientBuffer<device> gradient_;
  mutable std::uint64_t epoch_ = 0;
  mutable Slot slot_ = 0;
};

namespace detail {

template <class Mode, class T>
struct ParameterOf {
  using type = FrozenParameter<T>;
};
template <class T>
struct ParameterOf<Trainable, T> {
  using type = TrainableParameter<T>;
};

}  // namespace detail

/// A module's parameter in `Mode`: trainable if the mode is `Trainable`, else frozen.
template <class Mode, class T>
using Parameter = typename detail::ParameterOf<Mode, T>::type;

/// The gradient of a trainable parameter, or null where none has arrived.
template <class P>
const auto* gradient(const P& parameter) {
  static_assert(P::trainable, "calm::gradient: this parameter is frozen; a frozen parameter has no gradient");
  return parameter.gradient();
}

}  // namespace calm
