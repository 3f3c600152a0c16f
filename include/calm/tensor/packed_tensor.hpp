/// \file  Matrices that never change, in the layout in which products read them; and the mode that keeps a model so.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/tensor/cpu/packed.hpp"
#include "calm/tensor/cuda/packed.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// A constant matrix X = Tensor<T, Device, Out, In>, kept in `Stored`: on the host as panels (`tensor/cpu/panels.hpp`),
/// on a GPU as it is.
///
/// An operand of `linear`, `embedding` and `linear_cross_entropy`, in the place of X. Products with a matrix kept in
/// bf16 round their other side to bf16, too, and add up in float.
template <class Stored, class X>
class Packed {
 public:
  using tensor_type = X;
  using stored_type = Stored;
  using value_type = typename X::value_type;
  using device = typename X::device;
  static_assert(X::rank == 2 && X::shape_type::dynamic_rank == 0,
                "calm::Packed: only a matrix of two static axes is packed");
  static_assert(std::is_same_v<Accumulator<Stored>, value_type>,
                "calm::Packed: bf16 and float are kept for a model that computes in float, double for one in double");
  static constexpr std::size_t out = AxisOf<X, 0>::extent, in = AxisOf<X, 1>::extent;
  static constexpr bool in_panels = std::is_same_v<device, Cpu>;
  using word_type = std::conditional_t<in_panels, kernel::WordOf<Stored>, Stored>;
  static constexpr std::size_t bytes =
      (in_panels ? kernel::packed_words<Stored>(out, in) : out * in) * sizeof(word_type);

  /// No memory at all.
  Packed() = default;
  /// Reads x once, and keeps nothing of it.
  explicit Packed(const X& x) : storage_(bytes, Place::lasting) {
    auto* const to = static_cast<word_type*>(storage_.data());
    data_ = to;
    if constexpr (in_panels)
      kernel::pack_weight<Stored>(Cpu{}, out, in, x.data(), in, to);
    else
      kernel::cast(device{}, out * in, x.data(), to);
  }

  bool defined() const { return static_cast<bool>(storage_); }
  const word_type* data() const { return data_; }

  /// What is kept, as a tensor of its own.
  X unpacked() const {
    if (!defined()) return {};
    X x{typename X::shape_type{}};
    if constexpr (in_panels)
      for (std::size_t o = 0; o < out; ++o) kernel::unpack_row<Stored>(in, o, data(), x.mutable_data() + o * in);
    else
      kernel::cast(device{}, out * in, data(), x.mutable_data());
    return x;
  }

 private:
  Storage<device> storage_;
  const word_type* data_ = nullptr;  // the storage would ask the block, which no cache holds from one token to the next
};

namespace detail {

template <class W>
inline constexpr bool is_packed = false;
template <class Stored, class X>
inline constexpr bool is_packed<Packed<Stored, X>> = true;

}  // namespace detail

/// True of `Packed` matrices.
template <class W>
concept PackedMatrix = detail::is_packed<std::remove_cvref_t<W>>;

/// A mode: frozen, and every matrix is kept in `Stored` (bf16, or the model's own type) as `Packed`. Vectors (norms,
/// biases) stay in the model's type.
template <class Stored>
struct FrozenAs {};

/// A mode: trainable, and products round both operands to `Rounded` (bf16), as those with matrices of FrozenAs<Rounded>
/// round theirs. Parameters, gradients and sums stay in the model's own type.
template <class Rounded>
struct TrainedAs {};

namespace detail {
template <class Mode>
struct RoundedBy {
  using type = void;
};
template <>
struct RoundedBy<FrozenAs<bf16>> {
  using type = bf16;
};
template <>
struct RoundedBy<TrainedAs<bf16>> {
  using type = bf16;
};
}  // namespace detail

/// What a product with matrices of `Mode` rounds its operands to; void: it rounds nothing.
template <class Mode>
using RoundedBy = typename detail::RoundedBy<Mode>::type;

/// Whether no parameter of `Mode` has a gradient.
template <class Mode>
inline constexpr bool is_frozen_mode = std::is_same_v<Mode, Frozen>;
template <class Stored>
inline constexpr bool is_frozen_mode<FrozenAs<Stored>> = true;

/// A frozen matrix that is packed when it is assigned; what was assigned is not kept.
template <class Stored, class X>
class PackedParameter {
 public:
  using tensor_type = X;
  static constexpr bool trainable = false;

  const Packed<Stored, X>& operator()() const { return packed_; }
  /// What is kept, unpacked into memory of its own.
  X value() const { return packed_.unpacked(); }
  void assign(const X& value) { packed_ = Packed<Stored, X>(value); }

 private:
  Packed<Stored, X> packed_;
};

/// What keys and values of a model in `T` are kept in while it decodes: one whose matrices are kept in bf16 keeps these
/// so, too, since there are as many of them to read.
template <class T, class Mode>
struct CachedAs {
  using type = T;
};
template <>
struct CachedAs<float, FrozenAs<bf16>> {
  using type = bf16;
};

namespace detail {

template <class Stored, class T, class Device, Axis Out, Axis In>
struct ParameterOf<FrozenAs<Stored>, Tensor<T, Device, Out, In>> {
  using type = PackedParameter<Stored, Tensor<T, Device, Out, In>>;
};
template <class Rounded, class X>
struct ParameterOf<TrainedAs<Rounded>, X> {
  using type = TrainableParameter<X>;
};

}  // namespace detail
}  // namespace calm
