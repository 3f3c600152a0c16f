/// \file  A transformer block.
#pragma once

#include <cstddef>

#include "calm/nn/attention.hpp"
#include "calm/nn/mlp.hpp"
#include "calm/nn/norm.hpp"

namespace calm::nn {

/// h = x + attention(norm(x)); h + mlp(norm(h)).   [Batch, Time, Hidden] -> [Batch, Time, Hidden]   (Xiong et al. 2020)
///
/// With norms behind as well (Gemma 2): h = x + norm(attention(norm(x))); h + norm(mlp(norm(h))). The names are those
/// of checkpoints, in which post_attention_layernorm stands before the MLP in models without norms behind.
template <Spec S, class T, class Device, class Mode>
struct Block {
  using Normalise = Norm<Hidden<S>, S::config.norm, T, Device, Mode>;
  using Attention = SelfAttention<S, T, Device, Mode>;
  using FeedForward = Mlp<S, T, Device, MlpMode<Mode>>;
  using Cache = typename Attention::Cache;
  static constexpr bool post = S::config.post_norms;
  static constexpr std::size_t parameter_count =
      (post ? 4 : 2) * Normalise::parameter_count + Attention::parameter_count + FeedForward::parameter_count;

  Normalise input_layernorm;
  Attention self_attn;
  Normalise post_attention_layernorm;
  [[no_unique_address]] KeepIf<post, Normalise, 0> pre_feedforward_layernorm;
  FeedForward mlp;
  [[no_unique_address]] KeepIf<post, Normalise, 1> post_feedforward_layernorm;

  template <Operand X>
  auto operator()(const X& x, const Layout<Device>& layout, const typename Attention::Rotations& turned,
                  Cache* cache = nullptr) const {
    constexpr double eps = S::config.norm_eps;
    const auto a = self_attn(input_layernorm(x, eps), layout, turned, cache);
    if constexpr (post) {
      const auto [h, n] = pre_feedforward_layernorm.of_sum(post_attention_layernorm(a, eps), x, eps);
      return post_feedforward_layernorm(mlp(n), eps) + h;
    } else {
      const auto [h, n] = post_attention_layernorm.of_sum(a, x, eps);
      return mlp(n) + h;
    }
  }

  /// Puts the keys and values of x into the cache, and computes nothing else.
  template <Operand X>
  void remember(const X& x, const Layout<Device>& layout, const typename Attention::Rotations& turned,
                Cache& cache) const {
    self_attn.remember(input_layernorm(x, S::config.norm_eps), layout, turned, cache);
  }

  void visit(auto&& v) {
    v("input_layernorm", input_layernorm);
    v("self_attn", self_attn);
    v("post_attention_layernorm", post_attention_layernorm);
    if constexpr (post) v("pre_feedforward_layernorm", pre_feedforward_layernorm);
    v("mlp", mlp);
    if constexpr (post) v("post_feedforward_layernorm", post_feedforward_layernorm);
  }
};

}  // namespace calm::nn
