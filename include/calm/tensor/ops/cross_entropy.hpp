/// \file  Cross-entropy fused with the projection to the vocabulary.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>

#include "calm/tensor/cpu/cross_entropy.hpp"
#include "calm/tensor/cpu/elementwise.hpp"
#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/cpu/softcap.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// A target that does not count.
inline constexpr Index ignored_target = -1;

namespace detail {

/// The gradients stand already, up to the factor that arrives: they were made in the forward pass, chunk by chunk.
template <class X, class W, bool NeedX, bool NeedW>
struct CrossEntropyNode {
  using T = typename X::value_type;
  [[no_unique_address]] KeepIf<NeedX, X, 0> dx;
  [[no_unique_address]] KeepIf<NeedW, W, 1> dw;
  [[no_unique_address]] KeepIf<NeedX, Slot, 2> x_slot;
  [[no_unique_address]] KeepIf<NeedW, Slot, 3> w_slot;

  void backward(Tape<typename X::device>& tape, Slot out) {
    typename X::device device;
    const auto factor = static_cast<Accumulator<T>>(*tape.template incoming<T>(out));
    if constexpr (NeedX) kernel::axpy(device, dx.size(), factor, dx.data(), tape.template gradient<T>(x_slot));
    if constexpr (NeedW) kernel::axpy(device, dw.size(), factor, dw.data(), tape.template gradient<T>(w_slot));
  }
};

/// The rows whose target counts, checked against the vocabulary.
template <class Targets>
std::size_t select_targets(const Targets& targets, std::size_t vocab, Index* rows, Index* wanted) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Index t = targets[i];
    if (t == ignored_target) continue;
    require(t >= 0 && static_cast<std::size_t>(t) < vocab, [&] {
      return "calm::linear_cross_entropy: target " + std::to_string(i) + " is token " + std::to_string(t) +
             ", outside the vocabulary of " + std::to_string(vocab);
    });
    rows[n] = static_cast<Index>(i);
    wanted[n++] = t;
  }
  require(n > 0, [] {
    return std::string("calm::linear_cross_entropy: every target is masked, so there is no loss; give at least one "
                       "sequence an answer");
  });
  return n;
}

/// How many rows of logits stand in memory at a time: about 1 MiB.
inline std::size_t chunk_rows(std::size_t vocab, std::size_t element) {
  return std::clamp<std::size_t>((std::size_t{1} << 20) / (vocab * element), 16, 1024);
}

/// Gathers rows in the accumulator type.
template <class T, class A>
void gather_rows(std::size_t n, std::size_t width, const Index* rows, const T* x, A* y) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < width; ++c) {
      y[i * width + c] = static_cast<A>(x[static_cast<std::size_t>(rows[i]) * width + c]);
    }
  }
}

/// A weight in the accumulator type: itself, or a converted copy kept in `memory`.
template <class T, class Device>
const Accumulator<T>* widened(std::size_t n, const T* w, Storage<Device>& memory) {
  if constexpr (std::is_same_v<T, Accumulator<T>>) {
    return w;
  } else {
    memory = Storage<Device>(n * sizeof(Accumulator<T>));
    kernel::copy(Device{}, n, w, static_cast<Accumulator<T>*>(memory.data()));
    return static_cast<const Accumulator<T>*>(memory.data());
  }
}

/// The mean loss; with dx (and dw), their gradients too. dx must be zero at entry. `cap` > 0 bounds the logits.
template <class T, class Device>
double linear_cross_entropy(Device device, std::size_t count, std::size_t width, std::size_t vocab, const Index* rows,
                            const Index* wanted, const T* x, const T* w, T* dx, Accumulator<T>* dw, double cap) {
  using A = Accumulator<T>;
  using kernel::Op;
  const std::size_t chunk = std::min(count, chunk_rows(vocab, sizeof(A)));
  Storage<Device> wide_memory;
  const A* wide = widened<T, Device>(vocab * width, w, wide_memory);
  const Storage<Device> memory((chunk * (vocab + 2 * width)) * sizeof(A)), losses(chunk * sizeof(double));
  Storage<Device> slopes;  // of the capped logits
  if (cap > 0) slopes = Storage<Device>(chunk * vocab * sizeof(A));
  A* slope = static_cast<A*>(slopes.data());
  A* logits = static_cast<A*>(memory.data());
  A* x_rows = logits + chunk * vocab;
  A* dx_rows = x_rows + chunk * width;
  auto* loss = static_cast<double*>(losses.data());
  double total = 0;
  for (std::size_t r0 = 0; r0 < count; r0 += chunk) {
    const std::size_t n = std::min(chunk, count - r0);
    gather_rows(n, width, rows + r0, x, x_rows);
    kernel::gemm<A>(device, Op::none, Op::transpose, n, vocab, width, A(1), {x_rows, width}, {wide, width}, false,
                    {logits, vocab});
    if (cap > 0) kernel::softcap(device, n * vocab, static_cast<A>(cap), logits, slope);
    kernel::cross_entropy(device, n, vocab, wanted + r0, dx || dw, A(1) / static_cast<A>(count), logits, loss);
    if (cap > 0 && (dx || dw)) kernel::multiply_by(device, n * vocab, slope, logits);
    for (std::size_t i = 0; i < n; ++i) total += loss[i];
    if (dx) {
      kernel::gemm<A>(device, Op::none, Op::none, n, width, vocab, A(1), {logits, vocab}, {wide, width}, false,
                      {dx_rows, width});
      for (std::size_t i = 0; i < n; ++i) {
        kernel::copy(device, width, dx_rows + i * width, dx + static_cast<std::size_t>(rows[r0 + i]) * width);
      }
    }
    if (dw) {
      kernel::gemm<A>(device, Op::transpose, Op::none, vocab, width, n, A(1), {logits, vocab}, {x_rows, width}, true,
                      {dw, width});
    }
  }
  return total / static_cast<double>(count);
}

}  // namespace detail

/// The mean of -log softmax(x · Wᵀ)[target] over the targets that count.
///
/// x: [..., Hidden], weight: [Vocab, Hidden], targets: [...] -> [One]. Only rows with a target are projected, about
/// 1 MiB of logits at a time, and the gradient is made in the same pass. With `softcap` > 0 the logits z are softcap ·
/// tanh(z / softcap) (Gemma 2). Throws `Error` if a target is outside the vocabulary, or if none counts.
template <Operand X, Operand W, class... Lead>
auto linear_cross_entropy(const X& x, const W& weight,
                          const Tensor<Index, typename ValueOf<X>::device, Lead...>& targets, double softcap = 0) {
  using In = ValueOf<X>;
  using Weight = ValueOf<W>;
  static_assert(same_kind<In, Weight>, "calm::linear_cross_entropy: input and weight differ in device or element type");
  static_assert(std::is_same_v<LastAxisOf<In>, LastAxisOf<Weight>> && Weight::rank == 2,
                "calm::linear_cross_entropy: the weight must be [Vocab, Hidden] with the input's last axis");
  static_assert(sizeof...(Lead) + 1 == In::rank, "calm::linear_cross_entropy: targets must be the input's axes but the last");
  using T = typename In::value_type;
  using A = Accumulator<T>;
  using Device = typename In::device;
  constexpr std::size_t vocab = AxisOf<Weight, 0>::extent, width = LastAxisOf<In>::extent;
  detail::require(targets.size() == rows_of(value(x)), [&] {
    return "calm::linear_cross_entropy: " + std::to_string(targets.size()) + " targets for " +
           std::to_string(rows_of(value(x))) + " rows";
  });
  const Storage<Device> picked(2 * targets.size() * sizeof(Index));
  auto* rows = static_cast<Index*>(picked.data());
  Index* wanted = rows + targets.size();
  const std::size_t count = detail::select_targets(targets, vocab, rows, wanted);

  using Loss = Tensor<T, Device, One>;
  auto* tape = tape_of(x, weight);
  using Node = detail::CrossEntropyNode<In, Weight, is_var<X>, is_var<W>>;
  [[maybe_unused]] In dx;
  [[maybe_unused]] Tensor<A, Device, AxisOf<Weight, 0>, AxisOf<Weight, 1>> dw;
  if (is_var<X> && tape) dx = In::zeros(value(x).shape());
  if (is_var<W> && tape) dw = decltype(dw)::zeros(value(weight).shape());
  const double mean = detail::linear_cross_entropy<T, Device>(
      Device{}, count, width, vocab, rows, wanted, value(x).data(), value(weight).data(),
      dx.defined() ? dx.mutable_data() : nullptr, dw.defined() ? dw.mutable_data() : nullptr, softcap);
  Loss loss = Loss::full({}, static_cast<T>(static_cast<A>(mean)));
  if constexpr (is_var<X> || is_var<W>) {
    return record(tape, std::move(loss), [&] {
      Weight dw_stored;
      if constexpr (is_var<W>) {
        if constexpr (std::is_same_v<A, T>) {
          dw_stored = dw;
        } else {
          dw_stored = Weight(dw.shape());
          kernel::copy(Device{}, dw.size(), dw.data(), dw_stored.mutable_data());
        }
      }
      return Node{decltype(Node::dx)(dx), decltype(Node::dw)(dw_stored), decltype(Node::x_slot)(slot_of(x)),
                  decltype(Node::w_slot)(slot_of(weight))};
    });
  } else {
    return loss;
  }
}

}  // namespace calm
