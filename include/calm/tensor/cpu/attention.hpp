/// \file  Host kernels of blockwise attention (Dao et al. 2022, "FlashAttention", algorithms 1 and 4).
///
/// Scores exist for one block of queries against one block of keys at a time. Forward keeps the logarithm of each
/// softmax's denominator, backward rebuilds the probabilities from it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "calm/tensor/cpu/math.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/storage.hpp"
#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// The extents of one attention: q and out [batch, queries, heads, width], k and v [batch, keys, kv_heads, width].
struct AttentionExtents {
  std::size_t batch, queries, keys, heads, kv_heads, width;
};

/// Which keys count and how scores are formed: score(i, j) = cap(scale · q_i·k_j) - slope[head] · |center_i - j| for
/// begin_i <= j < end_i, with cap(s) = softcap · tanh(s / softcap). The three [batch, queries] arrays bound the keys;
/// begin = null: 0, center = null: end - 1.
template <class A>
struct AttentionRule {
  const Index* begin;
  const Index* end;
  const Index* center;
  const A* slope;  ///< [heads], or null: no bias
  A scale;
  A softcap;  ///< 0: none
};

namespace detail {

inline constexpr std::size_t query_block = 16, key_block = 64;

template <class T, class A>
void pack(std::size_t rows, std::size_t width, std::size_t stride, const T* x, A* y) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < width; ++c) y[r * width + c] = static_cast<A>(x[r * stride + c]);
  }
}

/// y[c, r] = x[r, c] with `key_block` elements to a row of y.
template <class T, class A>
void pack_transposed(std::size_t rows, std::size_t width, std::size_t stride, const T* x, A* y) {
  for (std::size_t c = 0; c < width; ++c) {
    for (std::size_t r = 0; r < rows; ++r) y[c * key_block + r] = static_cast<A>(x[r * stride + c]);
    for (std::size_t r = rows; r < key_block; ++r) y[c * key_block + r] = A(0);
  }
}

/// s[0..key_block) = Σ_c x[c] · yt[c, ·]
template <class A>
void dot_block(std::size_t width, const A* x, const A* yt, A* s) {
  A sum[key_block] = {};
  for (std::size_t c = 0; c < width; ++c) {
    const A xc = x[c];
    for (std::size_t j = 0; j < key_block; ++j) sum[j] += xc * yt[c * key_block + j];
  }
  for (std::size_t j = 0; j < key_block; ++j) s[j] = sum[j];
}

template <class A>
void axpy_row(std::size_t width, A factor, const A* x, A* y) {
  for (std::size_t c = 0; c < width; ++c) y[c] += factor * x[c];
}

/// Turns the products of one query with keys j0 + [lo, hi) into scores; with `steep`, also into how fast each score
/// grows with its product.
template <class A>
void score_block(const AttentionRule<A>& rule, std::size_t head, Index center, std::size_t j0, std::size_t lo,
                 std::size_t hi, A* s, A* steep = nullptr) {
  for (std::size_t j = lo; j < hi; ++j) s[j] *= rule.scale;
  if (steep) std::fill(steep + lo, steep + hi, rule.scale);
  if (rule.softcap > 0) {
    for (std::size_t j = lo; j < hi; ++j) {
      const A t = std::tanh(s[j] / rule.softcap);
      s[j] = rule.softcap * t;
      if (steep) steep[j] *= (A(1) - t) * (A(1) + t);
    }
  }
  if (rule.slope == nullptr) return;
  const A slope = rule.slope[head];
  for (std::size_t j = lo; j < hi; ++j) {
    s[j] -= slope * std::abs(static_cast<A>(center) - static_cast<A>(j0 + j));
  }
}

/// The keys of one query, clamped to those that exist.
struct KeyBounds {
  std::size_t begin, end;
  Index center;
};

template <class A>
KeyBounds bounds_of(const AttentionRule<A>& rule, std::size_t keys, std::size_t row) {
  const Index end = std::min(rule.end[row], static_cast<Index>(keys));
  const Index begin = rule.begin ? std::max<Index>(0, rule.begin[row]) : 0;
  const Index center = rule.center ? rule.center[row] : rule.end[row] - 1;
  if (end <= begin) return {0, 0, center};
  return {static_cast<std::size_t>(begin), static_cast<std::size_t>(end), center};
}

/// The overlap of a query's keys with the block [j0, j0 + key_block), relative to j0.
struct BlockRange {
  std::size_t lo, hi;
  BlockRange(const KeyBounds& b, std::size_t j0)
      : lo(b.begin > j0 ? std::min(b.begin - j0, key_block) : 0),
        hi(b.end > j0 ? std::min(b.end - j0, key_block) : 0) {}
  bool empty() const { return hi <= lo; }
};

/// One block of queries of one head against all their keys.
template <class T, class A>
void attend(const AttentionExtents& e, const AttentionRule<A>& rule, std::size_t b, std::size_t h, std::size_t i0,
            std::size_t n, const T* q, const T* k, const T* v, const T* sink, T* out, A* lse, A* scratch) {
  const std::size_t width = e.width, q_stride = e.heads * width, kv_stride = e.kv_heads * width;
  const std::size_t kv_head = h / (e.heads / e.kv_heads);
  A* kt = scratch;
  A* vp = kt + width * key_block;
  A* qp = vp + key_block * width;
  A* acc = qp + query_block * width;
  A top[query_block], sum[query_block];
  KeyBounds bounds[query_block];
  std::size_t first = e.keys, last = 0;
  for (std::size_t i = 0; i < n; ++i) {
    bounds[i] = bounds_of(rule, e.keys, b * e.queries + i0 + i);
    if (bounds[i].begin < bounds[i].end) {
      first = std::min(first, bounds[i].begin);
      last = std::max(last, bounds[i].end);
    }
    // The sink is a first key, of value zero.
    top[i] = sink ? static_cast<A>(sink[h]) : -std::numeric_limits<A>::infinity();
    sum[i] = sink ? A(1) : A(0);
  }
  pack(n, width, q_stride, q + (b * e.queries + i0) * q_stride + h * width, qp);
  std::fill_n(acc, n * width, A(0));

  for (std::size_t j0 = first; j0 < last; j0 += key_block) {
    const std::size_t m = std::min(key_block, last - j0);
    const std::size_t at = (b * e.keys + j0) * kv_stride + kv_head * width;
    pack_transposed(m, width, kv_stride, k + at, kt);
    pack(m, width, kv_stride, v + at, vp);
    for (std::size_t i = 0; i < n; ++i) {
      const BlockRange range(bounds[i], j0);
      if (range.empty()) continue;
      A s[key_block];
      dot_block(width, qp + i * width, kt, s);
      score_block(rule, h, bounds[i].center, j0, range.lo, range.hi, s);
      A high = top[i];
      for (std::size_t j = range.lo; j < range.hi; ++j) high = std::max(high, s[j]);
      if (sum[i] > 0 && high > top[i]) {
        const A shrink = fast_exp(top[i] - high);
        sum[i] *= shrink;
        for (std::size_t c = 0; c < width; ++c) acc[i * width + c] *= shrink;
      }
      top[i] = high;
      for (std::size_t j = range.lo; j < range.hi; ++j) s[j] = fast_exp(s[j] - high);
      for (std::size_t j = range.lo; j < range.hi; ++j) {
        sum[i] += s[j];
        axpy_row(width, s[j], vp + j * width, acc + i * width);
      }
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    const A inverse = sum[i] > 0 ? A(1) / sum[i] : A(0);
    T* o = out + (b * e.queries + i0 + i) * q_stride + h * width;
    for (std::size_t c = 0; c < width; ++c) o[c] = static_cast<T>(acc[i * width + c] * inverse);
    if (lse) lse[(b * e.heads + h) * e.queries + i0 + i] = top[i] + std::log(sum[i]);  // -∞ without keys
  }
}

}  // namespace detail

/// out = softmax(scores) · v; a query without keys gets zeros. `sink` [heads], one more score in each softmax whose
/// value is zero, may be null, and so may `lse` [batch, heads, queries], the logarithm of each softmax's denominator.
template <class T>
void attention(Cpu, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q, const T* k,
               const T* v, const T* sink, T* out, Accumulator<T>* lse) {
  using A = Accumulator<T>;
  const std::size_t blocks = (e.queries + detail::query_block - 1) / detail::query_block;
  const std::size_t items = e.batch * e.heads * blocks;
  const std::size_t grain = items * e.queries * e.keys * e.width > (1u << 16) ? 1 : items;
  const std::size_t scratch = 2 * (detail::key_block + detail::query_block) * e.width;
  const Storage<Cpu> memory(parts_of(items, grain) * scratch * sizeof(A));
  parallel_ranges(items, grain, [&](std::size_t part, std::size_t begin, std::size_t end) {
    A* const own = static_cast<A*>(memory.data()) + part * scratch;
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t block = item % blocks, bh = item / blocks, i0 = block * detail::query_block;
      detail::attend(e, rule, bh / e.heads, bh % e.heads, i0, std::min(detail::query_block, e.queries - i0), q, k, v,
                     sink, out, lse, own);
    }
  });
}

namespace detail {

/// What the backward pass of one (sequence, key head) works in; A elements.
template <class A>
struct BackwardScratch {
  A *kt, *vt, *k, *dk, *dv, *q, *d_out, *dq, *delta;

  static std::size_t size(const AttentionExtents& e) {
    return 5 * key_block * e.width + 2 * query_block * e.width + group(e) * e.queries * (e.width + 1);
  }
  static std::size_t group(const AttentionExtents& e) { return e.heads / e.kv_heads; }
  BackwardScratch(A* p, const AttentionExtents& e) {
    const std::size_t kb = key_block * e.width, qb = query_block * e.width;
    kt = p, vt = kt + kb, k = vt + kb, dk = k + kb, dv = dk + kb, q = dv + kb, d_out = q + qb;
    dq = d_out + qb, delta = dq + group(e) * e.queries * e.width;
  }
};

/// The gradients of one query against one block of keys, added to dq, dk and dv in scratch.
template <class A>
void attend_backward(const AttentionRule<A>& rule, std::size_t width, std::size_t head, const KeyBounds& bounds,
                     std::size_t j0, A lse, A delta, const A* q, const A* d_out, const BackwardScratch<A>& w, A* dq) {
  const BlockRange range(bounds, j0);
  if (range.empty()) return;
  A s[key_block], dp[key_block], steep[key_block];
  dot_block(width, q, w.kt, s);
  dot_block(width, d_out, w.vt, dp);
  score_block(rule, head, bounds.center, j0, range.lo, range.hi, s, steep);
  for (std::size_t j = range.lo; j < range.hi; ++j) s[j] = fast_exp(s[j] - lse);
  for (std::size_t j = range.lo; j < range.hi; ++j) {
    const A ds = s[j] * (dp[j] - delta) * steep[j];
    axpy_row(width, s[j], d_out, w.dv + j * width);
    axpy_row(width, ds, q, w.dk + j * width);
    axpy_row(width, ds, w.k + j * width, dq);
  }
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
        A dot = 0;
        for (std::size_t c = 0; c < e.width; ++c) dot += A(out[at + c]) * A(d_out[at + c]);
        sum += fast_exp(score - lse[(b * e.heads + h) * e.queries + i]) * dot;
      }
      d_sink[h] = static_cast<T>(A(d_sink[h]) - sum);
    }
  });
}

/// result[b, i, h] = lse[b, h, i]
template <class T>
void attention_lse(Cpu, const AttentionExtents& e, const Accumulator<T>* lse, T* result) {
  const std::size_t rows = e.batch * e.queries;
  parallel_ranges(rows, (1 << 15) / e.heads + 1, [=](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      const Accumulator<T>* from = lse + row / e.queries * e.heads * e.queries + row % e.queries;
      for (std::size_t h = 0; h < e.heads; ++h) result[row * e.heads + h] = static_cast<T>(from[h * e.queries]);
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
        A sum = 0;
        for (std::size_t c = 0; c < width; ++c) sum += A(out[at + c]) * A(d_out[at + c]);
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
          detail::pack(n, width, q_stride, q + rows, w.q);
          detail::pack(n, width, q_stride, d_out + rows, w.d_out);
          for (std::size_t i = 0; i < n; ++i) {
            detail::attend_backward(rule, width, h, detail::bounds_of(rule, e.keys, b * e.queries + i0 + i), j0,
                                    lse[(b * e.heads + h) * e.queries + i0 + i], w.delta[g * e.queries + i0 + i],
                                    w.q + i * width, w.d_out + i * width, w, w.dq + (g * e.queries + i0 + i) * width);
          }
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

}  // namespace calm::kernel
