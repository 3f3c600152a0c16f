/// \file  Scaled dot-product attention as one fused, blockwise operation.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/cpu/attention_backward.hpp"
#include "calm/tensor/cpu/attention_one.hpp"
#include "calm/tensor/cuda/rounded_attention.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// A mask is an interval of keys per query: query i of a sequence sees keys begin_i <= j < end_i. Causal order, padding
/// on either side, prefixes, an encoder's whole prompt, windows and packed texts are all intervals. A text that forks,
/// one continuation beside another, is an interval with a hole.
template <class Device>
struct KeyIntervals {
  using Bounds = Tensor<Index, Device, Batch, Time>;

  Bounds end;
  Bounds begin = {};   ///< undefined: every interval begins at key 0
  Bounds center = {};  ///< where the query itself stands among the keys, for the recency bias; undefined: at the last
  /// Keys from hole_begin_i to hole_end_i are not seen either, and places among the keys leave them out. Undefined:
  /// none.
  Bounds hole_begin = {}, hole_end = {};
};

/// How scores are formed. `Rounded`: the type to which operands of products are rounded where that is faster, bf16 in
/// models whose matrices are; void: none is.
template <std::size_t Heads, class Rounded = void>
struct AttentionOptions {
  double scale = 0;                     ///< what q·k is multiplied by; 0: 1 / sqrt(width of a head)
  double softcap = 0;                   ///< scores s become softcap · tanh(s / softcap) (Gemma 2); 0: as they are
  std::array<double, Heads> recency{};  ///< per head, what a score loses per key of distance (ALiBi, Press et al. 2022)
};

namespace detail {

/// Whether keys are kept shorter than the queries are, as caches of packed models keep them.
template <class Q, class K>
inline constexpr bool kept_shorter =
    std::is_same_v<typename Q::value_type, float> && std::is_same_v<typename K::value_type, bf16>;

}  // namespace detail

/// Whether `attention(q, k, v)` is defined.
template <class Q, class K, class V>
concept Attendable = same_device<ValueOf<Q>, ValueOf<K>> &&
                     (same_dtype<ValueOf<Q>, ValueOf<K>> || detail::kept_shorter<ValueOf<Q>, ValueOf<K>>) &&
                     std::is_same_v<ValueOf<K>, ValueOf<V>> && ValueOf<Q>::rank == 4 && ValueOf<K>::rank == 4 &&
                     LastAxisOf<ValueOf<Q>>::extent == LastAxisOf<ValueOf<K>>::extent &&
                     AxisOf<ValueOf<Q>, 2>::extent % AxisOf<ValueOf<K>, 2>::extent == 0;

namespace detail {

/// Attention without a sink.
struct NoSink {};

template <class S>
auto sink_value(const S& sink) {
  if constexpr (std::is_same_v<S, NoSink>)
    return sink;
  else
    return value(sink);
}
/// Whether `S` may be the sink of queries Q: nothing, or one score per head.
template <class S, class Q>
constexpr bool is_sink_of() {
  if constexpr (std::is_same_v<S, NoSink>)
    return true;
  else
    return std::is_same_v<ValueOf<S>, Tensor<typename Q::value_type, typename Q::device, AxisOf<Q, 2>>>;
}

template <class T, std::size_t Heads, class Rounded = void>
struct AttentionForm {
  using A = Accumulator<T>;
  static constexpr bool rounded = std::is_same_v<T, float> && std::is_same_v<Rounded, bf16>;
  using Rule = std::conditional_t<rounded, kernel::RoundedRule<A, Rounded>, kernel::AttentionRule<A>>;
  std::array<A, Heads> slope{};
  A scale, softcap;
  bool biased = false;

  AttentionForm(const AttentionOptions<Heads, Rounded>& options, std::size_t width)
      : scale(static_cast<A>(options.scale != 0 ? options.scale : 1 / std::sqrt(static_cast<double>(width)))),
        softcap(static_cast<A>(options.softcap)) {
    for (std::size_t h = 0; h < Heads; ++h) {
      slope[h] = static_cast<A>(options.recency[h]);
      biased = biased || options.recency[h] != 0;
    }
  }
  template <class Device>
  Rule rule(const KeyIntervals<Device>& mask) const {
    const kernel::AttentionRule<A> exact{
        mask.begin.data(), mask.end.data(),        mask.center.data(),  biased ? slope.data() : nullptr, scale,
        softcap,           mask.hole_begin.data(), mask.hole_end.data()};
    if constexpr (rounded)
      return {exact};
    else
      return exact;
  }
};

template <class Q, class K>
kernel::AttentionExtents attention_extents(const Q& q, const K& k) {
  return {q.extent(0), q.extent(1), k.extent(1), q.extent(2), k.extent(2), q.extent(3)};
}

template <class Q, class K, class Sink, class Form, bool NeedQ, bool NeedK, bool NeedV, bool NeedSink,
          bool WithLse = false>
struct AttentionNode {
  using T = typename Q::value_type;
  using Device = typename Q::device;
  static constexpr bool several_results = WithLse;

  // The probabilities are rebuilt from q, k and the log-sum-exp whichever gradient is asked for.
  Q q;
  K k, v;
  Q out;
  Storage<Device> lse;
  KeyIntervals<Device> mask;
  Form form;
  [[no_unique_address]] Sink sink;
  [[no_unique_address]] KeepIf<NeedQ, Slot, 0> q_slot;
  [[no_unique_address]] KeepIf<NeedK, Slot, 1> k_slot;
  [[no_unique_address]] KeepIf<NeedV, Slot, 2> v_slot;
  [[no_unique_address]] KeepIf<NeedSink, Slot, 3> sink_slot;
  [[no_unique_address]] KeepIf<WithLse, Slot, 4> lse_slot;

  void backward(Tape<Device>& tape, Slot out_slot) {
    typename Tape<Device>::template Target<T> dq{}, dk{}, dv{};
    const T *d_out = tape.template incoming<T>(out_slot), *d_lse = nullptr;
    if constexpr (WithLse) {
      d_lse = tape.template incoming<T>(lse_slot);
      if (d_out == nullptr && d_lse == nullptr) return;
      if (d_out == nullptr) d_out = tape.template gradient<T>(out_slot);
    }
    const auto* sums = static_cast<const Accumulator<T>*>(lse.data());
    if constexpr (NeedQ) dq = place_of(tape, q_slot);
    if constexpr (NeedK) dk = place_of(tape, k_slot);
    if constexpr (NeedV) dv = place_of(tape, v_slot);
    const auto run = [&](auto... adds) {
      kernel::attention_backward(Device{}, attention_extents(q, k), form.rule(mask), q.data(), k.data(), v.data(),
                                 out.data(), sums, d_out, dq.data, dk.data, dv.data, d_lse, adds...);
    };
    if constexpr (writes)
      run(kernel::AttentionAdds{dq.adds, dk.adds, dv.adds});
    else
      run();
    if constexpr (NeedSink) {
      kernel::attention_sink_backward(Device{}, attention_extents(q, k), sink.data(), out.data(), sums, d_out,
                                      tape.template gradient<T>(sink_slot));
    }
    if constexpr (WithLse) tape.release(lse_slot);
  }

 private:
  static constexpr bool writes = std::is_same_v<Device, Cpu>;  // other kernels add to what stands there
  static auto place_of(Tape<Device>& tape, Slot slot) {
    if constexpr (writes)
      return tape.template target<T>(slot);
    else
      return typename Tape<Device>::template Target<T>{tape.template gradient<T>(slot), true};
  }
};

/// Attention's rules on types; the sentence of the first that is broken.
template <class Q, class K, class V, class Sink>
constexpr void check_attention() {
  static_assert(same_device<Q, K>, "calm::attention: queries and keys are on different devices");
  static_assert(same_dtype<Q, K> || kept_shorter<Q, K>,
                "calm::attention: queries and keys have different element types");
  static_assert(AxisOf<Q, 2>::extent % AxisOf<K, 2>::extent == 0,
                "calm::attention: the number of heads is not a multiple of the number of key heads");
  static_assert(Attendable<Q, K, V>, "calm::attention: q, k and v must be [Batch, Time, Heads, Width] of one width");
  static_assert(is_sink_of<Sink, Q>(),
                "calm::attention: the sink must be [Heads] of the queries' device, element type and heads");
}

/// The kernel that the number of queries asks for.   lse: [Batch, Heads, Time] or null
template <class Q, class K, class Rule>
void run_attention(const Rule& rule, const Q& q, const K& k, const K& v, const typename Q::value_type* sink, Q& out,
                   Accumulator<typename Q::value_type>* lse) {
  typename Q::device device;
  const kernel::AttentionExtents e = attention_extents(q, k);
  if constexpr (std::is_same_v<typename Q::device, Cpu>) {
    if (e.queries == 1) {
      kernel::attention_of_one(device, e, rule, q.data(), k.data(), v.data(), sink, out.mutable_data(), lse);
      return;
    }
  }
  kernel::attention(device, e, rule, q.data(), k.data(), v.data(), sink, out.mutable_data(), lse);
}

/// What attention returns: `out`, and `lse` if `WithLse`, as variables with a node on `tape` if an operand is one.
/// sums: the log-sum-exp as kernels keep it
template <bool WithLse, class Q, class K, class V, class Form, class Sink>
auto attention_result(Tape<typename ValueOf<Q>::device>* tape, const Q& q, const K& k, const V& v,
                      const KeyIntervals<typename ValueOf<Q>::device>& mask, const Form& form, const Sink& sink,
                      ValueOf<Q> out, const Storage<typename ValueOf<Q>::device>& sums, Leading<ValueOf<Q>> lse) {
  using In = ValueOf<Q>;
  const auto result = [&](auto y, auto z) {
    if constexpr (WithLse)
      return std::pair(std::move(y), std::move(z));
    else
      return y;
  };
  if constexpr (!(is_var<Q> || is_var<K> || is_var<V> || is_var<Sink>)) {
    return result(std::move(out), std::move(lse));
  } else if constexpr (kept_shorter<In, ValueOf<K>>) {  // a cache's, and decoding never records
    return result(as_var(std::move(out)), as_var(std::move(lse)));
  } else {
    using Node = AttentionNode<In, ValueOf<K>, decltype(sink_value(sink)), Form, is_var<Q>, is_var<K>, is_var<V>,
                               is_var<Sink>, WithLse>;
    Slot lse_slot = 0, sink_slot = 0;
    if (WithLse && tape) lse_slot = tape->new_slot(lse.size() * sizeof(typename In::value_type));
    if constexpr (is_var<Sink>) sink_slot = slot_of(sink);
    auto recorded = record(tape, out, [&] {
      return Node{value(q),
                  value(k),
                  value(v),
                  out,
                  sums,
                  mask,
                  form,
                  sink_value(sink),
                  decltype(Node::q_slot)(slot_of(q)),
                  decltype(Node::k_slot)(slot_of(k)),
                  decltype(Node::v_slot)(slot_of(v)),
                  decltype(Node::sink_slot)(sink_slot),
                  decltype(Node::lse_slot)(lse_slot)};
    });
    return result(std::move(recorded), Var<Leading<In>>{std::move(lse), tape, lse_slot});
  }
}

/// `attention`, with the log-sum-exp of each query as a second result if `WithLse`.
template <bool WithLse, class Q, class K, class V, class Rounded, class Sink>
auto attend(const Q& q, const K& k, const V& v, const KeyIntervals<typename ValueOf<Q>::device>& mask,
            const AttentionOptions<AxisOf<ValueOf<Q>, 2>::extent, Rounded>& options, const Sink& sink) {
  using In = ValueOf<Q>;
  using T = typename In::value_type;
  using Device = typename In::device;
  require(value(q).extent(0) == value(k).extent(0) && mask.end.defined() && mask.end.extent(0) == value(q).extent(0) &&
              mask.end.extent(1) == value(q).extent(1),
          [] { return std::string("calm::attention: q, k and the mask disagree on batch or time"); });
  constexpr bool tracked = is_var<Q> || is_var<K> || is_var<V> || is_var<Sink>;
  Tape<Device>* tape;
  const T* sink_data = nullptr;
  if constexpr (std::is_same_v<Sink, NoSink>) {
    tape = tape_of(q, k, v);
  } else {
    tape = tape_of(q, k, v, sink);
    sink_data = value(sink).data();
  }
  require(!kept_shorter<In, ValueOf<K>> || tape == nullptr, [] {
    return std::string("calm::attention: no gradient goes through keys kept in bf16 for queries in float");
  });
  const AttentionForm<T, AxisOf<In, 2>::extent, Rounded> form(options, LastAxisOf<In>::extent);
  const kernel::AttentionExtents e = attention_extents(value(q), value(k));
  In out(value(q).shape());
  Storage<Device> sums;
  if (WithLse || (tracked && tape)) sums = Storage<Device>(e.batch * e.heads * e.queries * sizeof(Accumulator<T>));
  auto* const lse_data = static_cast<Accumulator<T>*>(sums.data());
  run_attention(form.rule(mask), value(q), value(k), value(v), sink_data, out, lse_data);
  Leading<In> lse;
  if constexpr (WithLse) {
    lse = Leading<In>(shape_of<Leading<In>>({e.batch, e.queries, e.heads}));
    kernel::attention_lse(Device{}, e, lse_data, lse.mutable_data());
  }
  return attention_result<WithLse>(tape, q, k, v, mask, form, sink, std::move(out), sums, std::move(lse));
}

}  // namespace detail

/// softmax(scale · q·kᵀ - recency) · v over the keys that `mask` allows; a query that sees none gets zeros.
///
/// q: [Batch, Time, Heads, Width], k and v: [Batch, Keys, KvHeads, Width] -> [Batch, Time, Heads, Width]. Each key head
/// serves Heads / KvHeads neighbouring query heads (Ainslie et al. 2023). No T × T matrix ever stands in memory. Keys
/// and values may be kept in bf16 for queries in float; then no gradient is recorded (`Error`). Throws `Error` where q,
/// k and the mask differ in batch or time.
///
/// sink: [Heads], a score of each head's own that stands in every softmax and brings nothing, so that a query may read
/// little or nothing of what it sees (Xiao et al. 2023, as in gpt-oss).
template <Operand Q, Operand K, Operand V, class Rounded = void, class Sink = detail::NoSink>
auto attention(const Q& q, const K& k, const V& v, const KeyIntervals<typename ValueOf<Q>::device>& mask,
               const AttentionOptions<AxisOf<ValueOf<Q>, 2>::extent, Rounded>& options = {}, const Sink& sink = {}) {
  detail::check_attention<ValueOf<Q>, ValueOf<K>, ValueOf<V>, Sink>();
  if constexpr (Attendable<Q, K, V>) return detail::attend<false>(q, k, v, mask, options, sink);
}

/// `attention`, and the logarithm of each query's Σ_j e^score_j, which is what several attentions need to be joined in
/// one softmax (`share`): a pair of [Batch, Time, Heads, Width] and [Batch, Time, Heads].
///
/// A query that sees no key has the log-sum-exp -∞. Both results are differentiable.
template <Operand Q, Operand K, Operand V, class Rounded = void>
auto attention_with_lse(const Q& q, const K& k, const V& v, const KeyIntervals<typename ValueOf<Q>::device>& mask,
                        const AttentionOptions<AxisOf<ValueOf<Q>, 2>::extent, Rounded>& options = {}) {
  detail::check_attention<ValueOf<Q>, ValueOf<K>, ValueOf<V>, detail::NoSink>();
  if constexpr (Attendable<Q, K, V>) return detail::attend<true>(q, k, v, mask, options, detail::NoSink{});
}

}  // namespace calm
