/// \file  A pre-norm transformer block.
#pragma once

#include <cstddef>

#include "calm/nn/attention.hpp"
#include "calm/nn/mlp.hpp"
#include "calm/nn/norm.hpp"

namespace calm::nn {

/// h = x + attention(norm(x)); h + mlp(norm(h)).   [Batch, Time, Hidden] -> [Batch, Time, Hidden]   (Xiong et al. 2020)
template <Spec S, class T, class Device, class Mode>
struct Block {
  using Normalise = Norm<Hidden<S>, S::config.norm, T, Device, Mode>;
  using Attention = SelfAttention<S, T, Device, Mode>;
  using FeedForward = Mlp<S, T, Device, MlpMode<Mode>>;
  using Cache = typename Attention::Cache;
  static constexpr std::size_t parameter_count =
      2 * Normalise::parameter_count + Attention::parameter_count + FeedForward::parameter_count;

  Normalise input_layernorm;
  Attention self_attn;
  Normalise post_attention_layernorm;
  FeedForward mlp;

  template <Operand X>
  auto operator()(const X& x, const Layout<Device>& layout, Cache* cache = nullptr) const {
    constexpr double eps = S::config.norm_eps;
    const auto h = self_attn(input_layernorm(x, eps), layout, cache) + x;
    return mlp(post_attention_layernorm(h, eps)) + h;
  }

  void visit(auto&& v) {
    v("input_layernorm", input_layernorm);
    v("self_attn", self_attn);
    v("post_attention_layernorm", post_attention_layernorm);
    v("mlp", mlp);
  }
};

}  // namespace calm::nn
