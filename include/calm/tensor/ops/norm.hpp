/// \file  Root-mean-square and layer normalisation over the last axis.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/norm.hpp"
#include "calm/tensor/cpu/reduce.hpp"  // kernel::sum_rows
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// What a stored norm weight means: the scale itself (Llama), or its distance from 1 (Gemma).
enum class NormScale : bool { weight, one_plus_weight };

/// Whether `w` can scale the last axis of `x`: one type, one device, and that axis alone.
template <class X, class W>
concept Normalizable = same_kind<ValueOf<X>, ValueOf<W>> && ValueOf<W>::rank == 1 &&
                       std::is_same_v<LastAxisOf<ValueOf<X>>, LastAxisOf<ValueOf<W>>>;

namespace detail {

/// No weight: every scale is 1.
template <class T>
struct NoWeight {
  const T* data() const { return nullptr; }
};

/// Per-row numbers that the backward pass reads, in the type that sums are kept in; nothing unless `Needed`.
template <bool Needed, class X>
struct Statistics {
  using A = Accumulator<typename X::value_type>;
  Storage<typename X::device> storage;

  explicit Statistics(std::size_t n) : storage(n * sizeof(A)) {}
  A* data() const { return static_cast<A*>(storage.data()); }
};
template <class X>
struct Statistics<false, X> {
  explicit Statistics(std::size_t) {}
  Accumulator<typename X::value_type>* data() const { return nullptr; }
};

/// x with other elements.
template <class X, class T>
using WithElements = typename TensorOn<T, typename X::device, typename ListOf<X>::type>::type;
/// What elements a norm keeps its input with: `Kept` if that is said, and the host's kernel is there to write them.
template <class X, class Kept>
using KeptElements =
    std::conditional_t<std::is_void_v<Kept> || !std::is_same_v<typename X::device, Cpu>, typename X::value_type, Kept>;

template <class X, class W, bool NeedX, bool NeedW, class Kept = X>
struct RmsNormNode {
  using T = typename X::value_type;
  using Device = typename X::device;
  static_assert(!NeedW || std::is_same_v<Kept, X>, "the gradient of a weight reads x as it is");

  Kept x;
  Statistics<true, X> inverse_rms;
  [[no_unique_address]] KeepIf<NeedX, W, 0> weight;
  [[no_unique_address]] KeepIf<NeedX, Slot, 1> x_slot;
  [[no_unique_address]] KeepIf<NeedW, Slot, 2> weight_slot;
  Accumulator<T> offset;

  void backward(Tape<Device>& tape, Slot out) {
    constexpr std::size_t cols = LastAxisOf<X>::extent;
    const T* dy = tape.template incoming<T>(out);
    if constexpr (NeedX) {
      const auto dx = tape.template sum<T>(x_slot);
      kernel::rms_norm_backward(Device{}, rows_of(x), cols, x.data(), weight.data(), offset, inverse_rms.data(), dy,
                                dx.data, dx.before);
    }
    if constexpr (NeedW) {
      kernel::norm_weight_gradient<T>(Device{}, rows_of(x), cols, x.data(), nullptr, inverse_rms.data(), dy,
                                      tape.template gradient<T>(weight_slot));
    }
  }
};

/// `read` is what the kernel reads: the elements of x, or what makes them.
template <class X, class W, bool NeedW, class Elements>
auto rms_normalized(const X& x, const kernel::NormOperand<typename ValueOf<X>::value_type>& read, const W& weight,
                    Slot weight_slot, auto* tape, double offset, double eps) {
  using In = ValueOf<X>;
  using A = Accumulator<typename In::value_type>;
  using Kept = WithElements<In, Elements>;
  constexpr bool recorded = is_var<X> || NeedW;
  const std::size_t rows = rows_of(value(x));
  In y(value(x).shape());
  const Statistics<recorded, In> inverse_rms(rows);
  [[maybe_unused]] Kept kept;
  const auto run = [&](auto*... copy) {
    kernel::rms_norm(typename In::device{}, rows, LastAxisOf<In>::extent, read, weight.data(), static_cast<A>(offset),
                     eps, y.mutable_data(), inverse_rms.data(), copy...);
  };
  if constexpr (std::is_same_v<Kept, In>) {
    kept = value(x);
    run();
  } else if (recorded && tape) {
    kept = Kept(value(x).shape());
    run(kept.mutable_data());
  } else {
    run();
  }
  if constexpr (recorded) {
    using Node = RmsNormNode<In, W, is_var<X>, NeedW, Kept>;
    return record(tape, std::move(y), [&] {
      return Node{kept, inverse_rms, decltype(Node::weight)(weight), decltype(Node::x_slot)(slot_of(x)),
                  decltype(Node::weight_slot)(weight_slot), static_cast<A>(offset)};
    });
  } else {
    return y;
  }
}

template <class X, class W, bool NeedX, bool NeedW, bool NeedB>
struct LayerNormNode {
  using T = typename X::value_type;
  using Device = typename X::device;

  [[no_unique_address]] KeepIf<NeedX || NeedW, X, 0> x;
  [[no_unique_address]] KeepIf<NeedX || NeedW, Statistics<true, X>, 1> statistics;  // all means, then all 1/σ
  [[no_unique_address]] KeepIf<NeedX, W, 2> weight;
  [[no_unique_address]] KeepIf<NeedX, Slot, 3> x_slot;
  [[no_unique_address]] KeepIf<NeedW, Slot, 4> weight_slot;
  [[no_unique_address]] KeepIf<NeedB, Slot, 5> bias_slot;
  std::size_t rows;

  void backward(Tape<Device>& tape, Slot out) {
    constexpr std::size_t cols = LastAxisOf<X>::extent;
    const T* dy = tape.template incoming<T>(out);
    if constexpr (NeedX) {
      const auto dx = tape.template sum<T>(x_slot);
      kernel::layer_norm_backward(Device{}, rows, cols, x.data(), weight.data(), statistics.data(), dy, dx.data,
                                  dx.before);
    }
    if constexpr (NeedW) {
      kernel::norm_weight_gradient(Device{}, rows, cols, x.data(), statistics.data(), statistics.data() + rows, dy,
                                   tape.template gradient<T>(weight_slot));
    }
    if constexpr (NeedB) kernel::sum_rows(Device{}, rows, cols, dy, tape.template gradient<T>(bias_slot));
  }
};

template <class X, class W, class B>
auto layer_normalized(const X& x, const kernel::NormOperand<typename ValueOf<X>::value_type>& read, const W& weight,
                      const B& bias, double eps) {
  using In = ValueOf<X>;
  constexpr bool recorded = is_var<X> || is_var<W>;  // with statistics, that is
  const std::size_t rows = rows_of(value(x));
  In y(value(x).shape());
  const Statistics<recorded, In> statistics(2 * rows);
  kernel::layer_norm(typename In::device{}, rows, LastAxisOf<In>::extent, read, value(weight).data(),
                     value(bias).data(), eps, y.mutable_data(), statistics.data());
  if constexpr (recorded || is_var<B>) {
    using Node = LayerNormNode<In, ValueOf<W>, is_var<X>, is_var<W>, is_var<B>>;
    return record(tape_of(x, weight, bias), std::move(y), [&] {
      return Node{decltype(Node::x)(value(x)),           decltype(Node::statistics)(statistics),
                  decltype(Node::weight)(value(weight)), decltype(Node::x_slot)(slot_of(x)),
                  decltype(Node::weight_slot)(slot_of(weight)), decltype(Node::bias_slot)(slot_of(bias)), rows};
    });
  } else {
    return y;
  }
}

/// The sum of x and y and what `normalise(sum, operand)` makes of it, whose kernel makes the sum too.
template <class X, class Y, class F>
auto summed_and_normalized(const char* name, const X& x, const Y& y, const F& normalise) {
  check_extents(name, value(x), value(y));
  ValueOf<X> z(value(x).shape());
  const kernel::NormOperand<typename ValueOf<X>::value_type> read(value(x).data(), value(y).data(), z.mutable_data());
  const auto sum = record_sum<false>(x, y, std::move(z));
  return std::pair(sum, normalise(sum, read));
}

}  // namespace detail

/// x / sqrt(mean(x²) + eps) · weight, or · (1 + weight) where `Meaning` says so.   x: [..., F], weight: [F] -> [..., F]
///
/// Zhang and Sennrich 2019, eq. 4. `rms_norm<NormScale::one_plus_weight>` is Gemma's. For the backward pass x is kept
/// with elements of type `Kept`, on a GPU as it is.
template <NormScale Meaning = NormScale::weight, class Kept = void, Operand X, Operand W>
auto rms_norm(const X& x, const W& weight, double eps) {
  static_assert(Normalizable<X, W>,
                "calm::rms_norm: the weight must have the last axis of x alone, and its element type and device");
  if constexpr (Normalizable<X, W>) {
    using Elements = detail::KeptElements<ValueOf<X>, Kept>;
    constexpr double offset = Meaning == NormScale::one_plus_weight ? 1 : 0;
    return detail::rms_normalized<X, ValueOf<W>, is_var<W>, Elements>(
        x, value(x).data(), value(weight), slot_of(weight), tape_of(x, weight), offset, eps);
  }
}

/// The sum x + y and its `rms_norm`, in one pass.   x, y: [..., F], weight: [F] -> {[..., F], [..., F]}
template <NormScale Meaning = NormScale::weight, class Kept = void, Operand X, Operand Y, Operand W>
auto add_rms_norm(const X& x, const Y& y, const W& weight, double eps) {
  constexpr bool fits = std::is_same_v<ValueOf<X>, ValueOf<Y>> && Normalizable<X, W>;
  static_assert(fits, "calm::add_rms_norm: the operands must have the same axes, and the weight the last one alone, of "
                      "one element type and device");
  if constexpr (fits) {
    return detail::summed_and_normalized("add_rms_norm", x, y, [&]<class S>(const S& sum, const auto& read) {
      using Elements = detail::KeptElements<ValueOf<S>, Kept>;
      return detail::rms_normalized<S, ValueOf<W>, is_var<W>, Elements>(
          sum, read, value(weight), slot_of(weight), tape_of(sum, weight),
          Meaning == NormScale::one_plus_weight ? 1.0 : 0.0, eps);
    });
  }
}

/// x / sqrt(mean(x²) + eps), without a weight.   x: [..., F] -> [..., F]
template <Operand X>
auto rms_norm(const X& x, double eps) {
  using T = typename ValueOf<X>::value_type;
  using NoWeight = detail::NoWeight<T>;
  return detail::rms_normalized<X, NoWeight, false, T>(x, value(x).data(), NoWeight{}, 0, tape_of(x), 0.0, eps);
}

/// (x - mean(x)) / sqrt(variance(x) + eps) · weight + bias.   x: [..., F], weight: [F], bias: [F] -> [..., F]
///
/// Ba, Kiros and Hinton 2016, eq. 4; the variance is the biased one.
template <Operand X, Operand W, Operand B>
auto layer_norm(const X& x, const W& weight, const B& bias, double eps) {
  static_assert(Normalizable<X, W>,
                "calm::layer_norm: the weight must have the last axis of x alone, and its element type and device");
  static_assert(Normalizable<X, B>,
                "calm::layer_norm: the bias must have the last axis of x alone, and its element type and device");
  if constexpr (Normalizable<X, W> && Normalizable<X, B>)
    return detail::layer_normalized(x, value(x).data(), weight, bias, eps);
}

/// The sum x + y and its `layer_norm`, in one pass.   x, y: [..., F], weight, bias: [F] -> {[..., F], [..., F]}
template <Operand X, Operand Y, Operand W, Operand B>
auto add_layer_norm(const X& x, const Y& y, const W& weight, const B& bias, double eps) {
  constexpr bool fits = std::is_same_v<ValueOf<X>, ValueOf<Y>> && Normalizable<X, W> && Normalizable<X, B>;
  static_assert(fits, "calm::add_layer_norm: the operands must have the same axes, and weight and bias the last one "
                      "alone, of one element type and device");
  if constexpr (fits) {
    return detail::summed_and_normalized("add_layer_norm", x, y, [&](const auto& sum, const auto& read) {
      return detail::layer_normalized(sum, read, weight, bias, eps);
    });
  }
}

}  // namespace calm
