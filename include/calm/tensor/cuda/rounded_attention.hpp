/// \file  The GPU's attention of a model in float whose operands may be rounded: tensor cores multiply them in bf16.
#pragma once

#include <cstddef>

#include "calm/tensor/cuda/packed.hpp"  // InType

#ifdef CALM_CUDA

namespace calm::kernel {

/// As `attention` of bf16, whose operands these are once rounded; keys and values may be in bf16 already, as caches of
/// packed models are. Scores, sums and `lse` are float.
template <class K>
void attention(Cuda device, const AttentionExtents& e, const RoundedRule<float, bf16>& rule, const float* q, const K* k,
               const K* v, const float* sink, float* out, float* lse) {
  const std::size_t n = e.batch * e.queries * e.heads * e.width, kept = e.batch * e.keys * e.kv_heads * e.width;
  const detail::InType<bf16> queries(n, q), keys(kept, k), values(kept, v), sinks(e.heads, sink);
  const Storage<Cuda> memory(n * sizeof(bf16));
  auto* const result = static_cast<bf16*>(memory.data());
  const AttentionRule<float>& exact = rule;
  attention(device, e, exact, queries.data(), keys.data(), values.data(), sinks.data(), result, lse);
  cast(device, n, static_cast<const bf16*>(result), out);
}
/// Keys that are kept in bf16 round the queries, too.
inline void attention(Cuda device, const AttentionExtents& e, const AttentionRule<float>& rule, const float* q,
                      const bf16* k, const bf16* v, const float* sink, float* out, float* lse) {
  attention(device, e, RoundedRule<float, bf16>{rule}, q, k, v, sink, out, lse);
}

namespace detail {

/// A gradient in float, formed in bf16 and added when this ends; null: nobody wants it.
class RoundedGradient {
 public:
  RoundedGradient(std::size_t n, float* gradient) : n_(n), gradient_(gradient) {
    if (gradient == nullptr) return;
    memory_ = Storage<Cuda>(n * sizeof(bf16));
    fill(Cuda{}, n, bf16{}, data());
  }
  RoundedGradient(const RoundedGradient&) = delete;
  RoundedGradient& operator=(const RoundedGradient&) = delete;

  bf16* data() const { return static_cast<bf16*>(memory_.data()); }
  void add() const {
    if (gradient_ == nullptr) return;
    const InType<float> wide(n_, static_cast<const bf16*>(data()));
    add_to(Cuda{}, n_, wide.data(), gradient_);
  }

 private:
  std::size_t n_;
  float* gradient_;
  Storage<Cuda> memory_;
};

}  // namespace detail

inline void attention_backward(Cuda device, const AttentionExtents& e, const RoundedRule<float, bf16>& rule,
                               const float* q, const float* k, const float* v, const float* out, const float* lse,
                               const float* d_out, float* dq, float* dk, float* dv, const float* d_lse = nullptr) {
  const std::size_t n = e.batch * e.queries * e.heads * e.width, kept = e.batch * e.keys * e.kv_heads * e.width;
  const detail::InType<bf16> queries(n, q), keys(kept, k), values(kept, v), results(n, out), d_results(n, d_out),
      d_sums(e.batch * e.queries * e.heads, d_lse);
  const detail::RoundedGradient to_q(n, dq), to_k(kept, dk), to_v(kept, dv);
  const AttentionRule<float>& exact = rule;
  attention_backward(device, e, exact, queries.data(), keys.data(), values.data(), results.data(), lse,
                     d_results.data(), to_q.data(), to_k.data(), to_v.data(), d_sums.data());
  for (const auto* gradient : {&to_q, &to_k, &to_v}) gradient->add();
}

}  // namespace calm::kernel

#endif
