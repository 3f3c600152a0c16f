/// \file  Host kernels of attention's gradients (Dao et al. 2022, algorithm 4).
#pragma once

#include <algorithm>
#include <cstddef>

#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/cpu/block_product.hpp"
#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/sum.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::kernel {

namespace detail {

/// What the backward pass of one (sequence, key head) works in; A elements.
template <class A>
struct BackwardScratch {
  A *kt, *vt, *k, *dk, *dv, *q, *d_out, *p, *ds, *dq, *delta;

  static std::size_t size(const AttentionExtents& e) {
    return 5 * key_block * e.width + 2 * query_block * (e.width + key_block) + group(e) * e.queries * (e.width + 1);
  }
  static std::size_t group(const AttentionExtents& e) { return e.heads / e.kv_heads; }
  BackwardScratch(A* memory, const AttentionExtents& e) {
    const std::size_t kb = key_block * e.width, qb = query_block * e.width, scores = query_block * key_block;
    kt = memory, vt = kt + kb, k = vt + kb, dk = k + kb, dv = dk + kb, q = dv + kb, d_out = q + qb;
    p = d_out + qb, ds = p + scores, dq = ds + scores, delta = dq + group(e) * e.queries * e.width;
  }
};

/// The probabilities of a few queries, rows of w.p from i on, and the gradients of their products with the keys, rows
/// of w.ds; both 0 outside of what each sees.
template <class A>
void rebuild_scores(const AttentionRule<A>& rule, std::size_t width, std::size_t head, std::size_t i, std::size_t rows,
                    const KeyBounds* bounds, std::size_t j0, const A* lse, const A* delta,
                    const BackwardScratch<A>& w) {
  A steep[key_block];
  add_product(rows, key_block, width, {w.q + i * width, width, 1}, w.kt, key_block, w.p + i * key_block, key_block);
  add_product(rows, key_block, width, {w.d_out + i * width, width, 1}, w.vt, key_block, w.ds + i * key_block, key_block);
  for (std::size_t r = i; r < i + rows; ++r) {
    const BlockRange own(bounds[r], j0);
    A *p = w.p + r * key_block, *ds = w.ds + r * key_block;
    score_block(rule, head, bounds[r], j0, own, p, steep);
    for (std::size_t j = own.lo; j < own.hi; ++j) p[j] = fast_exp(p[j] - lse[r]);
    std::fill(p + own.hole_lo, p + own.hole_hi, A(0));
    for (std::size_t j = own.lo; j < own.hi; ++j) ds[j] = p[j] * (ds[j] - delta[r]) * steep[j];
    for (A* x : {p, ds}) {
      std::fill(x, x + std::min(own.lo, own.hi), A(0));
      std::fill(x + own.hi, x + key_block, A(0));
    }
  }
}

/// The gradients of one block of queries against one block of keys, added to dq [queries, width], and to dk and dv in
/// scratch.
template <class A>
void attend_backward(const AttentionRule<A>& rule, std::size_t width, std::size_t head, std::size_t queries,
                     const KeyBounds* bounds, std::size_t j0, const A* lse, const A* delta,
                     const BackwardScratch<A>& w, A* dq) {
  std::size_t lo = key_block, hi = 0;
  std::fill_n(w.p, 2 * query_block * key_block, A(0));  // ds, too
  for (std::size_t i = 0; i < queries; i += rows_in_tile) {
    const std::size_t rows = std::min(rows_in_tile, queries - i);
    const TileRange range(bounds + i, rows, j0);
    if (range.empty()) continue;
    lo = std::min(lo, range.all.lo);
    hi = std::max(hi, range.all.hi);
    rebuild_scores(rule, width, head, i, rows, bounds, j0, lse, delta, w);
  }
  if (hi <= lo) return;
  const std::size_t seen = hi - lo;
  add_product(seen, width, queries, {w.p + lo, 1, key_block}, w.d_out, width, w.dv + lo * width, width);
  add_product(seen, width, queries, {w.ds + lo, 1, key_block}, w.q, width, w.dk + lo * width, width);
  add_product(queries, width, seen, {w.ds + lo, key_block, 1}, w.k + lo * width, width, dq, width);
}

}  // namespace detail

/// Adds to d_sink [heads] the gradient of each head's sink: -Σ_i e^(sink - lse_i) · out_i·d_out_i.
template <class T>
void attention_sink_backward(Cpu, const AttentionExtents& e, const T* sink, const T* out, const Accumulator<T>* lse,
                             const T* d_out, T* d_sink) {
  using A = Accumulator<T>;
  parallel_ranges(e.heads, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t h = begin; h < end; ++h) {
      const A score = static_cast<A>(sink[h]);
      A sum = 0;
      for (std::size_t row = 0; row < e.batch * e.queries; ++row) {
        const std::size_t at = (row * e.heads + h) * e.width;
        const std::size_t b = row / e.queries, i = row % e.queries;
        const A dot = detail::sum_of<A>(e.width, [=](std::size_t c) { return A(out[at + c]) * A(d_out[at + c]); });
        sum += fast_exp(score - lse[(b * e.heads + h) * e.queries + i]) * dot;
      }
      d_sink[h] = static_cast<T>(A(d_sink[h]) - sum);
    }
  });
}

/// Adds the gradients of attention to dq, dk and dv, each of which may be null. d_lse [batch, queries, heads], the
/// gradient of the log-sum-exps, may be null: since d lse_i / d score_ij = p_ij, it only lowers what stands beside
/// out_i·d_out_i.
template <class T>
void attention_backward(Cpu, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q,
                        const T* k, const T* v, const T* out, const Accumulator<T>* lse, const T* d_out, T* dq, T* dk,
                        T* dv, const T* d_lse = nullptr) {
  using A = Accumulator<T>;
  using detail::key_block, detail::query_block;
  const std::size_t width = e.width, group = e.heads / e.kv_heads;
  const std::size_t q_stride = e.heads * width, kv_stride = e.kv_heads * width;
  const auto one_head = [&](std::size_t item, A* scratch) {
    const std::size_t b = item / e.kv_heads, kv_head = item % e.kv_heads;
    const detail::BackwardScratch<A> w(scratch, e);
    std::fill_n(w.dq, group * e.queries * width, A(0));
    for (std::size_t g = 0; g < group; ++g) {
      for (std::size_t i = 0; i < e.queries; ++i) {
        const std::size_t at = (b * e.queries + i) * q_stride + (kv_head * group + g) * width;
        A sum = detail::sum_of<A>(width, [=](std::size_t c) { return A(out[at + c]) * A(d_out[at + c]); });
        if (d_lse) sum -= A(d_lse[at / width]);
        w.delta[g * e.queries + i] = sum;
      }
    }
    for (std::size_t j0 = 0; j0 < e.keys; j0 += key_block) {
      const std::size_t m = std::min(key_block, e.keys - j0);
      const std::size_t at = (b * e.keys + j0) * kv_stride + kv_head * width;
      detail::pack_transposed(m, width, kv_stride, k + at, w.kt);
      detail::pack_transposed(m, width, kv_stride, v + at, w.vt);
      detail::pack(m, width, kv_stride, k + at, w.k);
      std::fill_n(w.dk, 2 * key_block * width, A(0));
      for (std::size_t g = 0; g < group; ++g) {
        const std::size_t h = kv_head * group + g;
        for (std::size_t i0 = 0; i0 < e.queries; i0 += query_block) {
          const std::size_t n = std::min(query_block, e.queries - i0);
          const std::size_t rows = (b * e.queries + i0) * q_stride + h * width;
          detail::KeyBounds bounds[query_block];
          bool seen = false;
          for (std::size_t i = 0; i < n; ++i) {
            bounds[i] = detail::bounds_of(rule, e.keys, b * e.queries + i0 + i);
            seen = seen || !detail::BlockRange(bounds[i], j0).empty();
          }
          if (!seen) continue;
          detail::pack(n, width, q_stride, q + rows, w.q);
          detail::pack(n, width, q_stride, d_out + rows, w.d_out);
          detail::attend_backward(rule, width, h, n, bounds, j0, lse + (b * e.heads + h) * e.queries + i0,
                                  w.delta + g * e.queries + i0, w, w.dq + (g * e.queries + i0) * width);
        }
      }
      for (std::size_t j = 0; j < m; ++j) {
        for (std::size_t c = 0; c < width; ++c) {
          const std::size_t to = at + j * kv_stride + c;
          if (dk) dk[to] = static_cast<T>(A(dk[to]) + w.dk[j * width + c]);
          if (dv) dv[to] = static_cast<T>(A(dv[to]) + w.dv[j * width + c]);
        }
      }
    }
    for (std::size_t g = 0; dq && g < group; ++g) {
      for (std::size_t i = 0; i < e.queries; ++i) {
        T* to = dq + (b * e.queries + i) * q_stride + (kv_head * group + g) * width;
        for (std::size_t c = 0; c < width; ++c) {
          to[c] = static_cast<T>(A(to[c]) + w.dq[(g * e.queries + i) * width + c]);
        }
      }
    }
  };
  const std::size_t items = e.batch * e.kv_heads, scratch = detail::BackwardScratch<A>::size(e);
  const Storage<Cpu> memory(parts_of(items, 1) * scratch * sizeof(A));
  parallel_ranges(items, 1, [&](std::size_t part, std::size_t begin, std::size_t end) {
    A* const own = static_cast<A*>(memory.data()) + part * scratch;
    for (std::size_t item = begin; item < end; ++item) one_head(item, own);
  });
}

#ifdef CALM_COMPILED
CALM_EXTERN template void attention_backward<float>(Cpu, const AttentionExtents&, const AttentionRule<float>&,
                                                    const float*, const float*, const float*, const float*,
                                                    const float*, const float*, float*, float*, float*, const float*);
CALM_EXTERN template void attention_backward<double>(Cpu, const AttentionExtents&, const AttentionRule<double>&,
                                                     const double*, const double*, const double*, const double*,
                                                     const double*, const double*, double*, double*, double*,
                                                     const double*);
CALM_EXTERN template void attention_backward<bf16>(Cpu, const AttentionExtents&, const AttentionRule<float>&,
                                                   const bf16*, const bf16*, const bf16*, const bf16*, const float*,
                                                   const bf16*, bf16*, bf16*, bf16*, const bf16*);
#endif

}  // namespace calm::kernel
