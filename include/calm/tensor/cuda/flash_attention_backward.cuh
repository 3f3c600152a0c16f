/// \file  Attention's gradients on the tensor cores, for heads of bf16: FlashAttention-2 (Dao 2023, algorithm 2) as one
/// pass over the keys for the gradients of queries and one over the queries for those of keys and values. It makes two
/// of five products twice, and no two teams add to one number.
#pragma once

#include "calm/tensor/cuda/flash_attention_keys.cuh"
#include "calm/tensor/cuda/flash_attention_queries.cuh"
#include "calm/tensor/cuda/sums.cuh"

namespace calm::cuda {

/// Returns false where there are no kernels on the tensor cores for these heads.
inline bool flash_attention_backward(const kernel::AttentionExtents& e, const kernel::AttentionRule<float>& rule,
                                     const bf16* q, const bf16* k, const bf16* v, const bf16* out, const float* lse,
                                     const bf16* d_out, bf16* dq, bf16* dk, bf16* dv, const bf16* d_lse) {
  return on_tensor_cores(e, {q, k, v, out, d_out, dq, dk, dv}, [&](auto width) {
    const char* const name = "attention_backward";
    const std::size_t n = e.batch * e.queries * e.heads;
    const Scratch<QueryNumbers> numbers(n);
    warp_teams(name, (n + FlashDeltas::rows - 1) / FlashDeltas::rows,
               FlashDeltas{e, out, d_out, d_lse, lse, numbers.data()});
    const FlashSides in{e, {rule, e.heads}, q, k, v, d_out, numbers.data()};
    using ForQueries = FlashBackwardQueries<width>;
    const std::size_t tiles = (e.queries + ForQueries::rows - 1) / ForQueries::rows;
    if (dq) warp_teams(name, e.batch * e.heads * tiles, ForQueries{in, dq});
    if (!dk && !dv) return;
    constexpr bool narrow = width <= 128;
    using ForKeys = FlashBackwardKeys<width, true, narrow>;
    const std::size_t passes = (e.queries + ForKeys::rows - 1) / ForKeys::rows;
    const std::size_t items = e.batch * e.kv_heads * ((e.keys + ForKeys::keys - 1) / ForKeys::keys);
    const Scratch<KeySpan> spans(e.batch * passes);
    const Scratch<Seen> seen(e.batch * e.queries);
    teams(name, e.batch * passes, ForKeys::rows,
          FindSpans{in.rule, e.keys, e.queries, ForKeys::rows, spans.data(), seen.data()});
    const std::size_t parts = head_parts(items, e.heads / e.kv_heads), size = e.batch * e.keys * e.kv_heads * e.width;
    const Scratch<float> memory(parts == 1 ? 0 : (narrow ? 2 : 1) * parts * size);
    const auto run = [&]<class K>(std::type_identity<K>, bf16* first, bf16* second) {
      warp_teams(name, parts * items, K{in, spans.data(), seen.data(), dk, dv, parts, memory.data()});
      if (parts == 1) return;
      if (first) each(name, size, AddParts<bf16>{parts, size, memory.data(), first});
      if (second) each(name, size, AddParts<bf16>{parts, size, memory.data() + parts * size, second});
    };
    if (narrow || dk) run(std::type_identity<ForKeys>{}, dk, narrow ? dv : nullptr);
    if constexpr (!narrow) {
      if (dv) run(std::type_identity<FlashBackwardKeys<width, false, true>>{}, dv, nullptr);
    }
  });
}

}  // namespace calm::cuda
