/// \file  The GPU's kernel of blockwise attention (Dao et al. 2022, algorithm 1): a team for each tile of queries of a
/// head, which walks over the keys that any of them sees. All arithmetic is in fp32 or wider, on the plain cores; heads
/// of bf16 are flash_attention.cuh's.
#pragma once

#include "calm/tensor/cuda/attention_tile.cuh"
#include "calm/tensor/cuda/flash_attention.cuh"

namespace calm::cuda {

template <class T>
struct Attend {
  using A = Accumulator<T>;
  static constexpr std::size_t vectors = 4, squares = 1, numbers = 3;

  kernel::AttentionExtents e;
  Rule<A> rule;
  const T *q, *k, *v, *sink;
  T* out;
  A* lse;
  std::size_t tile;

  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const std::size_t blocks = (e.queries + tile - 1) / tile, i0 = item % blocks * tile, bh = item / blocks;
    const std::size_t b = bh / e.heads, h = bh % e.heads, n = e.queries - i0 < tile ? e.queries - i0 : tile;
    const std::size_t width = e.width, row = width + 1;
    A* const qs = team.template shared<A>();
    A *const ks = qs + tile * row, *const vs = ks + tile * row, *const acc = vs + tile * row;
    A *const s = acc + tile * row, *const top = s + tile * tile, *const sum = top + tile, *const shrink = sum + tile;
    const std::size_t first_row = b * e.queries + i0;
    const auto keys_of = [&](std::size_t i) { return rule.seen(e.keys, first_row + i); };
    const auto [first, last] = keys_seen(team, n, e.keys, keys_of);
    team.each(n * width, [&](std::size_t at) {
      const std::size_t i = at / width, c = at % width;
      qs[i * row + c] = wide(q[((first_row + i) * e.heads + h) * width + c]);
      acc[i * row + c] = 0;
    });
    team.each(n, [&](std::size_t i) {  // the sink is a first key, of value zero
      top[i] = sink ? wide(sink[h]) : -std::numeric_limits<A>::infinity();
      sum[i] = sink ? A(1) : A(0);
    });
    for (std::size_t j0 = first; j0 < last; j0 += tile) {
      const std::size_t m = last - j0 < tile ? last - j0 : tile;
      read_keys(team, b, h, j0, m, ks, vs);
      team.each(n * m, [&](std::size_t at) {
        const std::size_t i = at / m, j = at % m;
        const Seen seen = keys_of(i);
        const Index key = static_cast<Index>(j0 + j);
        s[i * tile + j] = seen(key) ? rule.score(dot(width, qs + i * row, ks + j * row), seen, h, key, nullptr)
                                    : -std::numeric_limits<A>::infinity();
      });
      team.each(n, [&](std::size_t i) { weigh(m, s + i * tile, top[i], sum[i], shrink[i]); });
      team.each(n * width, [&](std::size_t at) {
        const std::size_t i = at / width, c = at % width;
        A total = acc[i * row + c] * shrink[i];
        for (std::size_t j = 0; j < m; ++j) {  // values that nobody sees may be no numbers
          if (const A w = s[i * tile + j]; w != A(0)) total += w * vs[j * row + c];
        }
        acc[i * row + c] = total;
      });
    }
    team.each(n * width, [&](std::size_t at) {
      const std::size_t i = at / width, c = at % width;
      const A inverse = sum[i] > A(0) ? A(1) / sum[i] : A(0);
      out[((first_row + i) * e.heads + h) * width + c] = narrow<T>(acc[i * row + c] * inverse);
    });
    if (lse) {
      team.each(n, [&](std::size_t i) { lse[bh * e.queries + i0 + i] = top[i] + std::log(sum[i]); });
    }
  }

 private:
  CALM_KERNEL void read_keys(const Team& team, std::size_t b, std::size_t h, std::size_t j0, std::size_t m, A* ks,
                             A* vs) const {
    const std::size_t width = e.width, row = width + 1, kv_head = h / (e.heads / e.kv_heads);
    team.each(m * width, [&](std::size_t at) {
      const std::size_t j = at / width, c = at % width;
      const std::size_t from = ((b * e.keys + j0 + j) * e.kv_heads + kv_head) * width + c;
      ks[j * row + c] = wide(k[from]);
      vs[j * row + c] = wide(v[from]);
    });
  }

  /// Turns the m scores of one query into weights relative to the largest so far; what was summed up before shrinks.
  CALM_KERNEL static void weigh(std::size_t m, A* s, A& top, A& sum, A& shrink) {
    A high = top;
    for (std::size_t j = 0; j < m; ++j) high = s[j] > high ? s[j] : high;
    if (high == -std::numeric_limits<A>::infinity()) {
      for (std::size_t j = 0; j < m; ++j) s[j] = 0;
      shrink = 1;
      return;
    }
    shrink = std::exp(top - high);
    A total = 0;
    for (std::size_t j = 0; j < m; ++j) total += s[j] = std::exp(s[j] - high);
    sum = sum * shrink + total;
    top = high;
  }
};

template <class T>
struct LseByQuery {
  std::size_t queries, heads;
  const Accumulator<T>* lse;
  T* result;
  CALM_KERNEL void operator()(std::size_t at) const {
    const std::size_t row = at / heads, h = at % heads;
    result[at] = narrow<T>(lse[(row / queries * heads + h) * queries + row % queries]);
  }
};

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void attention(Cuda, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q, const T* k,
               const T* v, const T* sink, T* out, Accumulator<T>* lse) {
  using K = cuda::Attend<T>;
  using A = typename K::A;
  if constexpr (std::is_same_v<T, bf16>) {
    if (cuda::flash_attention(e, rule, q, k, v, sink, out, lse)) return;
  }
  const std::size_t tile = cuda::tile_for<A>(e.width, K::vectors, K::squares, K::numbers);
  const std::size_t items = e.batch * e.heads * ((e.queries + tile - 1) / tile);
  cuda::teams("attention", items, 256, K{e, {rule, e.heads}, q, k, v, sink, out, lse, tile},
              cuda::tile_bytes<A>(tile, e.width, K::vectors, K::squares, K::numbers));
}
template <class T>
void attention_lse(Cuda, const AttentionExtents& e, const Accumulator<T>* lse, T* result) {
  cuda::each("attention_lse", e.batch * e.queries * e.heads, cuda::LseByQuery<T>{e.queries, e.heads, lse, result});
}

#define CALM_ATTENTION(T)                                                                                            \
  template void attention<T>(Cuda, const AttentionExtents&, const AttentionRule<Accumulator<T>>&, const T*,          \
                             const T*, const T*, const T*, T*, Accumulator<T>*);                                     \
  template void attention_lse<T>(Cuda, const AttentionExtents&, const Accumulator<T>*, T*);
CALM_FOR_COMPUTE_TYPES(CALM_ATTENTION)
#undef CALM_ATTENTION

}  // namespace calm::kernel
