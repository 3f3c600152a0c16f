/// \file  The GPU's kernels of attention's gradients (Dao et al. 2022, algorithm 4): one pass over the keys for the
/// gradients of queries, one over the queries for those of keys and values, so that no two teams add to one number.
#pragma once

#include "calm/tensor/cuda/attention_tile.cuh"
#include "calm/tensor/cuda/flash_attention_backward.cuh"

namespace calm::cuda {

/// delta[b, h, i] = out_i · d_out_i - d_lse_i
template <class T>
struct Deltas {
  kernel::AttentionExtents e;
  const T *out, *d_out, *d_lse;
  Accumulator<T>* delta;
  CALM_KERNEL void operator()(std::size_t at) const {
    const std::size_t row = at / e.heads, h = at % e.heads;
    Accumulator<T> sum = 0;
    for (std::size_t c = at * e.width; c < (at + 1) * e.width; ++c) sum += wide(out[c]) * wide(d_out[c]);
    if (d_lse) sum -= wide(d_lse[at]);
    delta[(row / e.queries * e.heads + h) * e.queries + row % e.queries] = sum;
  }
};

/// What both passes know.
template <class T>
struct AttentionSides {
  using A = Accumulator<T>;
  kernel::AttentionExtents e;
  Rule<A> rule;
  const T *q, *k, *v, *d_out;
  const A *lse, *delta;  ///< [batch, heads, queries]
  std::size_t tile;

  CALM_KERNEL std::size_t query_at(std::size_t b, std::size_t i, std::size_t h) const {
    return ((b * e.queries + i) * e.heads + h) * e.width;
  }
  CALM_KERNEL std::size_t key_at(std::size_t b, std::size_t j, std::size_t kv_head) const {
    return ((b * e.keys + j) * e.kv_heads + kv_head) * e.width;
  }
  CALM_KERNEL void read_queries(const Team& team, std::size_t b, std::size_t h, std::size_t i0, std::size_t n, A* qs,
                                A* ds) const {
    const std::size_t width = e.width, row = width + 1;
    team.each(n * width, [&](std::size_t at) {
      const std::size_t i = at / width, c = at % width, from = query_at(b, i0 + i, h) + c;
      qs[i * row + c] = wide(q[from]);
      ds[i * row + c] = wide(d_out[from]);
    });
  }
  CALM_KERNEL void read_keys(const Team& team, std::size_t b, std::size_t kv_head, std::size_t j0, std::size_t m,
                             A* ks, A* vs) const {
    const std::size_t width = e.width, row = width + 1;
    team.each(m * width, [&](std::size_t at) {
      const std::size_t j = at / width, c = at % width, from = key_at(b, j0 + j, kv_head) + c;
      ks[j * row + c] = wide(k[from]);
      vs[j * row + c] = wide(v[from]);
    });
  }
  /// The probability of key j for query i, and the gradient of their product; both 0 where j is not seen.
  struct Pair {
    A p, ds;
  };
  CALM_KERNEL Pair rebuild(const Seen& seen, std::size_t h, std::size_t number, Index j, const A* query,
                           const A* d_result, const A* key, const A* value) const {
    if (!seen(j)) return {0, 0};
    A steep;
    const A p = std::exp(rule.score(dot(e.width, query, key), seen, h, j, &steep) - lse[number]);
    return {p, p * (dot(e.width, d_result, value) - delta[number]) * steep};
  }
};

/// dq for a tile of queries of one head.
template <class T>
struct AttendBackwardQueries {
  using A = Accumulator<T>;
  static constexpr std::size_t vectors = 5, squares = 1, numbers = 0;
  AttentionSides<T> in;
  T* dq;

  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const kernel::AttentionExtents& e = in.e;
    const std::size_t tile = in.tile, blocks = (e.queries + tile - 1) / tile, i0 = item % blocks * tile;
    const std::size_t bh = item / blocks, b = bh / e.heads, h = bh % e.heads, kv_head = h / (e.heads / e.kv_heads);
    const std::size_t n = e.queries - i0 < tile ? e.queries - i0 : tile, width = e.width, row = width + 1;
    A* const qs = team.template shared<A>();
    A *const d_outs = qs + tile * row, *const ks = d_outs + tile * row, *const vs = ks + tile * row;
    A *const acc = vs + tile * row, *const ds = acc + tile * row;
    const auto keys_of = [&](std::size_t i) { return in.rule.seen(e.keys, b * e.queries + i0 + i); };
    const auto [first, last] = keys_seen(team, n, e.keys, keys_of);
    in.read_queries(team, b, h, i0, n, qs, d_outs);
    team.each(n * width, [&](std::size_t at) { acc[at / width * row + at % width] = 0; });
    for (std::size_t j0 = first; j0 < last; j0 += tile) {
      const std::size_t m = last - j0 < tile ? last - j0 : tile;
      in.read_keys(team, b, kv_head, j0, m, ks, vs);
      team.each(n * m, [&](std::size_t at) {
        const std::size_t i = at / m, j = at % m;
        ds[i * tile + j] = in.rebuild(keys_of(i), h, bh * e.queries + i0 + i, static_cast<Index>(j0 + j),
                                      qs + i * row, d_outs + i * row, ks + j * row, vs + j * row).ds;
      });
      team.each(n * width, [&](std::size_t at) {
        const std::size_t i = at / width, c = at % width;
        A total = acc[i * row + c];
        for (std::size_t j = 0; j < m; ++j) {
          if (const A d = ds[i * tile + j]; d != A(0)) total += d * ks[j * row + c];
        }
        acc[i * row + c] = total;
      });
    }
    team.each(n * width, [&](std::size_t at) {
      const std::size_t i = at / width, c = at % width;
      T& to = dq[in.query_at(b, i0 + i, h) + c];
      to = narrow<T>(wide(to) + acc[i * row + c]);
    });
  }
};

/// dk and dv for a tile of keys of one key head; either may be null.
template <class T>
struct AttendBackwardKeys {
  using A = Accumulator<T>;
  static constexpr std::size_t vectors = 6, squares = 2, numbers = 0;
  AttentionSides<T> in;
  T *dk, *dv;

  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const kernel::AttentionExtents& e = in.e;
    const std::size_t tile = in.tile, blocks = (e.keys + tile - 1) / tile, j0 = item % blocks * tile;
    const std::size_t b = item / blocks / e.kv_heads, kv_head = item / blocks % e.kv_heads;
    const std::size_t m = e.keys - j0 < tile ? e.keys - j0 : tile, width = e.width, row = width + 1;
    A* const qs = team.template shared<A>();
    A *const d_outs = qs + tile * row, *const ks = d_outs + tile * row, *const vs = ks + tile * row;
    A *const dks = vs + tile * row, *const dvs = dks + tile * row, *const p = dvs + tile * row;
    A* const ds = p + tile * tile;
    in.read_keys(team, b, kv_head, j0, m, ks, vs);
    team.each(m * width, [&](std::size_t at) {
      dks[at / width * row + at % width] = 0;
      dvs[at / width * row + at % width] = 0;
    });
    const std::size_t group = e.heads / e.kv_heads;
    for (std::size_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      for (std::size_t i0 = 0; i0 < e.queries; i0 += tile) {
        const std::size_t n = e.queries - i0 < tile ? e.queries - i0 : tile;
        if (!any_sees(team, b, i0, n, j0, m)) continue;
        in.read_queries(team, b, h, i0, n, qs, d_outs);
        team.each(n * m, [&](std::size_t at) {
          const std::size_t i = at / m, j = at % m;
          const auto pair = in.rebuild(in.rule.seen(e.keys, b * e.queries + i0 + i), h,
                                       (b * e.heads + h) * e.queries + i0 + i, static_cast<Index>(j0 + j),
                                       qs + i * row, d_outs + i * row, ks + j * row, vs + j * row);
          p[i * tile + j] = pair.p;
          ds[i * tile + j] = pair.ds;
        });
        team.each(m * width, [&](std::size_t at) {
          const std::size_t j = at / width, c = at % width;
          A to_key = dks[j * row + c], to_value = dvs[j * row + c];
          for (std::size_t i = 0; i < n; ++i) {
            to_key += ds[i * tile + j] * qs[i * row + c];
            to_value += p[i * tile + j] * d_outs[i * row + c];
          }
          dks[j * row + c] = to_key;
          dvs[j * row + c] = to_value;
        });
      }
    }
    team.each(m * width, [&](std::size_t at) {
      const std::size_t j = at / width, c = at % width, to = in.key_at(b, j0 + j, kv_head) + c;
      if (dk) dk[to] = narrow<T>(wide(dk[to]) + dks[j * row + c]);
      if (dv) dv[to] = narrow<T>(wide(dv[to]) + dvs[j * row + c]);
    });
  }

 private:
  CALM_KERNEL bool any_sees(const Team& team, std::size_t b, std::size_t i0, std::size_t n, std::size_t j0,
                            std::size_t m) const {
    const auto first = static_cast<Index>(j0), last = static_cast<Index>(j0 + m);
    return team.template max<Index>(n, [&](std::size_t i) -> Index {
      const Seen seen = in.rule.seen(in.e.keys, b * in.e.queries + i0 + i);
      return !seen.empty() && seen.begin < last && seen.end > first;
    }) > 0;
  }
};

/// part[h, row] = e^(sink_h - lse) · out·d_out of a query
template <class T>
struct SinkTerms {
  kernel::AttentionExtents e;
  const T *sink, *out, *d_out;
  const Accumulator<T>* lse;
  Accumulator<T>* part;
  CALM_KERNEL void operator()(std::size_t at) const {
    using A = Accumulator<T>;
    const std::size_t rows = e.batch * e.queries, row = at / e.heads, h = at % e.heads;
    A sum = 0;
    for (std::size_t c = at * e.width; c < (at + 1) * e.width; ++c) sum += wide(out[c]) * wide(d_out[c]);
    const A below = lse[(row / e.queries * e.heads + h) * e.queries + row % e.queries];
    part[h * rows + row] = std::exp(wide(sink[h]) - below) * sum;
  }
};

template <class T>
struct SubtractTerms {
  std::size_t rows;
  const Accumulator<T>* part;
  T* d_sink;
  CALM_KERNEL void operator()(const Team& team, std::size_t h) const {
    using A = Accumulator<T>;
    const A sum = team.template sum<A>(rows, [&](std::size_t row) { return part[h * rows + row]; });
    team.each(1, [&](std::size_t) { d_sink[h] = narrow<T>(wide(d_sink[h]) - sum); });
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void attention_backward(Cuda, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q,
                        const T* k, const T* v, const T* out, const Accumulator<T>* lse, const T* d_out, T* dq, T* dk,
                        T* dv, const T* d_lse) {
  using A = Accumulator<T>;
  if constexpr (std::is_same_v<T, bf16>) {
    if (cuda::flash_attention_backward(e, rule, q, k, v, out, lse, d_out, dq, dk, dv, d_lse)) return;
  }
  const std::size_t rows = e.batch * e.queries;
  const cuda::Scratch<A> deltas(rows * e.heads);
  cuda::each("attention_backward", rows * e.heads, cuda::Deltas<T>{e, out, d_out, d_lse, deltas.data()});
  cuda::AttentionSides<T> in{e, {rule, e.heads}, q, k, v, d_out, lse, deltas.data(), 0};
  const auto run = [&](auto kernel, std::size_t count, std::size_t lines) {
    using K = decltype(kernel);
    const std::size_t tile = cuda::tile_for<A>(e.width, K::vectors, K::squares, K::numbers);
    kernel.in.tile = tile;
    cuda::teams("attention_backward", count * ((lines + tile - 1) / tile), 256, kernel,
                cuda::tile_bytes<A>(tile, e.width, K::vectors, K::squares, K::numbers));
  };
  if (dq) run(cuda::AttendBackwardQueries<T>{in, dq}, e.batch * e.heads, e.queries);
  if (dk || dv) run(cuda::AttendBackwardKeys<T>{in, dk, dv}, e.batch * e.kv_heads, e.keys);
}
template <class T>
void attention_sink_backward(Cuda, const AttentionExtents& e, const T* sink, const T* out, const Accumulator<T>* lse,
                             const T* d_out, T* d_sink) {
  const std::size_t rows = e.batch * e.queries;
  const cuda::Scratch<Accumulator<T>> parts(rows * e.heads);
  cuda::each("attention_sink_backward", rows * e.heads, cuda::SinkTerms<T>{e, sink, out, d_out, lse, parts.data()});
  cuda::teams("attention_sink_backward", e.heads, rows, cuda::SubtractTerms<T>{rows, parts.data(), d_sink});
}

#define CALM_ATTENTION_BACKWARD(T)                                                                                     \
  template void attention_backward<T>(Cuda, const AttentionExtents&, const AttentionRule<Accumulator<T>>&, const T*,   \
                                      const T*, const T*, const T*, const Accumulator<T>*, const T*, T*, T*, T*,       \
                                      const T*);                                                                       \
  template void attention_sink_backward<T>(Cuda, const AttentionExtents&, const T*, const T*, const Accumulator<T>*,   \
                                           const T*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_ATTENTION_BACKWARD)
#undef CALM_ATTENTION_BACKWARD

}  // namespace calm::kernel
