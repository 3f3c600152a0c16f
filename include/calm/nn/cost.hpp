/// \file  What a transformer costs, from its configuration alone: products per token, and bytes as the pool takes them.
///
/// A FLOP count is that of the products: two per multiply-add, of weights and of attention over the keys that a query
/// sees (causal order halves them, unlike in the common 12·L·C·T). Norms, activations and softmax are not counted.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "calm/nn/config.hpp"
#include "calm/nn/norm.hpp"
#include "calm/tensor/cpu/packed_mlp.hpp"
#include "calm/tensor/cpu_pool.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/packed_tensor.hpp"

namespace calm {

/// What the pool takes for a block of `bytes`.
constexpr std::size_t pooled_bytes(std::size_t bytes) { return CpuPool::block_bytes(bytes); }

namespace detail {

/// The bytes of a tensor with `rows` rows of some width.
struct TensorBytes {
  std::size_t rows, element;
  constexpr std::size_t operator()(std::size_t width) const { return pooled_bytes(rows * width * element); }
};

}  // namespace detail

namespace nn {

/// The keys that a token of a causal text of `length` tokens sees, on average; `window` = 0: no window.
constexpr double mean_keys(std::size_t length, std::size_t window = 0) {
  const auto n = static_cast<double>(length), w = static_cast<double>(window);
  if (window == 0 || window >= length) return (n + 1) / 2;
  return (w * (w + 1) / 2 + (n - w) * w) / n;
}
/// The keys that the last of `length` tokens sees.
constexpr double last_keys(std::size_t length, std::size_t window = 0) {
  return static_cast<double>(window == 0 ? length : std::min(window, length));
}

/// What a product of bf16 matrices takes beside its operands: they are widened to float (tensor/cpu/gemm.hpp), the
/// weight only for more than 32 rows.
template <class T>
constexpr std::size_t widened_bytes(std::size_t rows, std::size_t in, std::size_t out) {
  if (sizeof(T) == sizeof(Accumulator<T>)) return 0;
  return pooled_bytes(4 * rows * in) + (rows > 32 ? pooled_bytes(4 * in * out) : 0) + pooled_bytes(4 * rows * out);
}

/// A matrix of `Mode` in a model of `T`s.
template <class T, class Mode>
struct MatrixBytes {
  constexpr std::size_t operator()(std::size_t out, std::size_t in) const { return pooled_bytes(out * in * sizeof(T)); }
};
template <class T, class Stored>
struct MatrixBytes<T, FrozenAs<Stored>> {
  constexpr std::size_t operator()(std::size_t out, std::size_t in) const {
    return pooled_bytes(kernel::packed_words<Stored>(out, in) * sizeof(kernel::WordOf<Stored>));
  }
};

/// One linear layer's weight and bias.
template <class T, class Mode>
constexpr std::size_t linear_bytes(std::size_t in, std::size_t out, bool bias) {
  return MatrixBytes<T, Mode>()(out, in) + (bias ? pooled_bytes(out * sizeof(T)) : 0);
}

/// A block of model `S` in element type `T`, frozen in `Mode`.
template <Spec S, class T, class Mode = Frozen>
struct BlockCost {
  static constexpr TransformerConfig c = S::config;
  using Kept = typename KeptInput<T, Mode>::type;  // packed weights are of that type, too
  static constexpr std::size_t hidden = c.hidden, inner = c.inner_width(), queries = Queries<S>::extent,
                               keys = Keys<S>::extent;
  static constexpr bool gated = c.mlp == MlpKind::swiglu || c.mlp == MlpKind::geglu;
  static constexpr bool rotary = c.positions == PositionKind::rotary;
  static constexpr std::size_t statistics = c.norm == NormKind::layer ? 2 : 1;  // per row, of a norm
  static constexpr std::size_t element = sizeof(T), wide = sizeof(Accumulator<T>);
  static constexpr bool packed = is_frozen_mode<Mode> && !std::is_same_v<Mode, Frozen>;
  static constexpr bool whole_mlp = packed && gated && !c.bias;  // the MLP is one operation (nn/mlp.hpp)

  /// Multiply-adds per token of the weights.
  static constexpr std::size_t products = hidden * (2 * queries + 2 * keys) + (gated ? 3 : 2) * hidden * inner;

  static constexpr std::size_t norm_weights() { return statistics * pooled_bytes(hidden * element); }
  static constexpr std::size_t weights() {
    return (c.post_norms ? 4 : 2) * norm_weights() + linear_bytes<T, Mode>(hidden, queries, c.bias || c.qkv_bias) +
           2 * linear_bytes<T, Mode>(hidden, keys, c.bias || c.qkv_bias) +
           (c.qk_norm ? 2 * statistics * pooled_bytes(c.width_of_head() * element) : 0) +
           linear_bytes<T, Mode>(queries, hidden, c.bias) +
           (gated ? 2 : 1) * linear_bytes<T, Mode>(hidden, inner, c.bias) +
           linear_bytes<T, Mode>(inner, hidden, c.bias);
  }
  static constexpr std::size_t cache(std::size_t batch, std::size_t capacity) {
    return 2 * pooled_bytes(batch * capacity * keys * sizeof(typename CachedAs<T, Mode>::type));
  }
  /// What a norm keeps of its input.
  static constexpr std::size_t norm_input(std::size_t tokens, std::size_t width = hidden, std::size_t norms = 1) {
    const std::size_t kept = c.norm == NormKind::layer ? element : sizeof(Kept);
    return pooled_bytes(tokens * width * kept) + pooled_bytes(tokens * norms * statistics * wide);
  }
  /// The table that all blocks turn their queries and keys by, or all local ones.
  static constexpr std::size_t rotations(std::size_t tokens) {
    return rotary ? pooled_bytes(tokens * c.width_of_head() * wide) : 0;
  }
  /// What the nodes keep of `tokens` tokens where the state is a variable: the inputs of both norms, q, k, v, what
  /// attention gives, and the inputs of the activation; of a frozen linear layer nothing.
  static constexpr std::size_t kept(std::size_t tokens) {
    const calm::detail::TensorBytes of{tokens, element}, sums{tokens, wide}, inside{tokens, sizeof(Kept)};
    const std::size_t of_heads = norm_input(tokens, queries, c.heads) + norm_input(tokens, keys, c.key_heads());
    return (c.post_norms ? 4 : 2) * norm_input(tokens) + (c.qk_norm ? of_heads : 0) + 2 * of(queries) +
           2 * of(keys) + sums(c.heads) + (whole_mlp ? 2 * inside(inner) : (gated ? 2 : 1) * of(inner));
  }
  /// What a forward pass that keeps nothing has in hand at its fullest, in attention or in the MLP.
  static constexpr std::size_t forward(std::size_t tokens) {
    const calm::detail::TensorBytes of{tokens, element};
    const std::size_t attention = 3 * of(hidden) + 2 * of(queries) + 2 * of(keys);
    const std::size_t mlp = 4 * of(hidden) + (whole_mlp ? mlp_work(tokens, 0, 1) : (gated ? 3 : 2) * of(inner));
    return std::max(attention, mlp) + (c.bias ? of(hidden) : 0) + widened_bytes<T>(tokens, hidden, inner);
  }
  /// What the backward pass has beyond all that was kept, where this is the last block: the gradients of the MLP; or
  /// those of attention, for which the MLP has made room.
  static constexpr std::size_t backward(std::size_t tokens) {
    const calm::detail::TensorBytes of{tokens, element}, inside{tokens, sizeof(Kept)};
    const std::size_t freed = of(hidden) + (whole_mlp ? 2 * inside(inner) : (gated ? 2 : 1) * of(inner));
    const std::size_t attention = 2 * of(queries) + 2 * of(keys);
    const std::size_t mlp = of(hidden) + mlp_work(tokens, 1, sizeof(Kept) < wide ? 2 : 1);
    return std::max(whole_mlp ? mlp : (gated ? 3 : 2) * of(inner), attention > freed ? attention - freed : 0) +
           widened_bytes<T>(tokens, hidden, inner);
  }

 private:
  /// What the packed MLP works in, so many arrays of sums and of what products read (tensor/cpu/packed_mlp.hpp).
  static constexpr std::size_t mlp_work(std::size_t tokens, std::size_t sums, std::size_t read) {
    const std::size_t numbers = std::min(tokens, kernel::detail::mlp_rows) * inner;
    return pooled_bytes(sums * numbers * wide) + pooled_bytes(read * numbers * sizeof(Kept));
  }
};

/// In how many stretches of equal attention, local or not, blocks [first, last) run; of at most `most` blocks, if that
/// is not 0.
template <Spec S>
constexpr std::size_t stretches(std::size_t first, std::size_t last, std::size_t most = 0) {
  std::size_t n = 0, blocks = 0;
  for (std::size_t i = first; i < last; ++i, ++blocks) {
    if (i > first && blocks != most && S::config.is_local(i) == S::config.is_local(i - 1)) continue;
    ++n;
    blocks = 0;
  }
  return n;
}

/// FLOPs per token of blocks [first, last), forward: an average over a text of `length` tokens, or its last one alone.
template <Spec S>
constexpr double forward_flops(std::size_t first, std::size_t last, std::size_t length, bool last_token = false) {
  using Cost = BlockCost<S, float>;
  double sum = 0;
  for (std::size_t i = first; i < last; ++i) {
    const std::size_t window = S::config.is_local(i) ? S::config.window : 0;
    const double seen = last_token ? last_keys(length, window) : mean_keys(length, window);
    sum += 2.0 * static_cast<double>(Cost::products) + 4.0 * static_cast<double>(Cost::queries) * seen;
  }
  return sum;
}
/// The same backward, to the input alone: the weights are frozen. Attention rebuilds its scores, and so makes five
/// products where forward made two (Dao et al. 2022, algorithm 4).
template <Spec S>
constexpr double backward_flops(std::size_t first, std::size_t last, std::size_t length) {
  using Cost = BlockCost<S, float>;
  double sum = 0;
  for (std::size_t i = first; i < last; ++i) {
    const double seen = mean_keys(length, S::config.is_local(i) ? S::config.window : 0);
    sum += 2.0 * static_cast<double>(Cost::products) + 10.0 * static_cast<double>(Cost::queries) * seen;
  }
  return sum;
}
/// The same of a prompt of `length` tokens that is read into caches: its last token alone passes the last block, for
/// which that makes keys and values of the others, and once more of this one.
template <Spec S>
constexpr double prefill_flops(std::size_t length) {
  constexpr std::size_t layers = S::config.layers;
  if (length == 1) return forward_flops<S>(0, layers, 1);
  const double keys = 4.0 * static_cast<double>(S::config.hidden * Keys<S>::extent);
  return forward_flops<S>(0, layers - 1, length) + keys +
         forward_flops<S>(layers - 1, layers, length, true) / static_cast<double>(length);
}
/// FLOPs of one token's logits.
template <Spec S>
constexpr double head_flops() {
  return 2.0 * static_cast<double>(S::config.vocab) * static_cast<double>(S::config.hidden);
}

/// The weights of the embedding and the first `depth` blocks.
template <Spec S, class T, class Mode = Frozen>
constexpr std::size_t trunk_bytes(std::size_t depth) {
  constexpr TransformerConfig c = S::config;
  constexpr MatrixBytes<T, Mode> matrix;
  return matrix(c.vocab, c.hidden) + (c.positions == PositionKind::learned ? matrix(c.context, c.hidden) : 0) +
         depth * BlockCost<S, T, Mode>::weights();
}
/// The weights of the whole model.
template <Spec S, class T, class Mode = Frozen>
constexpr std::size_t transformer_bytes() {
  constexpr TransformerConfig c = S::config;
  return trunk_bytes<S, T, Mode>(c.layers) + BlockCost<S, T>::norm_weights() +
         (c.tied_embeddings ? 0 : MatrixBytes<T, Mode>()(c.vocab, c.hidden));
}

}  // namespace nn
}  // namespace calm
