/// \file  The fields of a TransformerConfig by name: compared, and written as C++.
#pragma once

#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "calm/nn/config.hpp"

namespace calm::io {

namespace detail {

/// Calls f(name, a's, b's) for each field, in the order of their declaration.
template <class F>
void for_each_field(const nn::TransformerConfig& a, const nn::TransformerConfig& b, F f) {
  // A field more or less does not compile here.
  [[maybe_unused]] const auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
                                f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31, f32, f33, f34] = a;
  using C = nn::TransformerConfig;
  const auto field = [&](const char* name, auto C::*member) { f(name, a.*member, b.*member); };
  field("vocab", &C::vocab);
  field("hidden", &C::hidden);
  field("layers", &C::layers);
  field("heads", &C::heads);
  field("kv_heads", &C::kv_heads);
  field("head_width", &C::head_width);
  field("inner", &C::inner);
  field("context", &C::context);
  field("norm", &C::norm);
  field("mlp", &C::mlp);
  field("positions", &C::positions);
  field("rope_theta", &C::rope_theta);
  field("norm_eps", &C::norm_eps);
  field("window", &C::window);
  field("local_layers", &C::local_layers);
  field("bias", &C::bias);
  field("tied_embeddings", &C::tied_embeddings);
  field("global_every", &C::global_every);
  field("qkv_bias", &C::qkv_bias);
  field("qk_norm", &C::qk_norm);
  field("post_norms", &C::post_norms);
  field("embedding_scale", &C::embedding_scale);
  field("query_scale", &C::query_scale);
  field("attention_softcap", &C::attention_softcap);
  field("logits_softcap", &C::logits_softcap);
  field("local_rope_theta", &C::local_rope_theta);
  field("rope_scaling", &C::rope_scaling);
  field("rope_factor", &C::rope_factor);
  field("rope_low_frequency", &C::rope_low_frequency);
  field("rope_high_frequency", &C::rope_high_frequency);
  field("rope_original_context", &C::rope_original_context);
  field("rotary_width", &C::rotary_width);
  field("rope_magnitude", &C::rope_magnitude);
  field("rope_pair_factors", &C::rope_pair_factors);
}

/// A field's value as C++ says it: 12, 1e-05, true, calm::nn::NormKind::layer.
template <class V>
std::string cpp_text(const V& value) {
  if constexpr (std::is_same_v<V, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<V, nn::NormKind>) {
    constexpr const char* names[] = {"rms", "rms_plus_one", "layer"};
    return std::string("calm::nn::NormKind::") + names[static_cast<std::size_t>(value)];
  } else if constexpr (std::is_same_v<V, nn::MlpKind>) {
    constexpr const char* names[] = {"gelu", "gelu_tanh", "swiglu", "geglu"};
    return std::string("calm::nn::MlpKind::") + names[static_cast<std::size_t>(value)];
  } else if constexpr (std::is_same_v<V, nn::PositionKind>) {
    constexpr const char* names[] = {"learned", "rotary"};
    return std::string("calm::nn::PositionKind::") + names[static_cast<std::size_t>(value)];
  } else if constexpr (std::is_same_v<V, RopeScaling>) {
    constexpr const char* names[] = {"none", "linear", "llama3", "yarn", "longrope"};
    return std::string("calm::RopeScaling::") + names[static_cast<std::size_t>(value)];
  } else if constexpr (requires { value.begin(); }) {
    std::string list;
    for (const double factor : value) {
      if (factor != 0) list.append(list.empty() ? "{" : ", ").append(cpp_text(factor));
    }
    return list.empty() ? "{}" : list + "}";
  } else {
    char text[32];  // the shortest that reads back as the same number
    return {text, std::to_chars(text, text + sizeof text, value).ptr};
  }
}

/// The same model with every field that has a default of its own written out.
inline nn::TransformerConfig spelt_out(nn::TransformerConfig c) {
  const std::size_t heads = c.key_heads(), width = c.width_of_head(), inner = c.inner_width();
  c.kv_heads = heads;
  c.head_width = width;
  c.inner = inner;
  if (c.rotary_width == 0) c.rotary_width = width;
  return c;
}

}  // namespace detail

/// What differs between two models, one field per line: "  hidden: expected 512, found 768"; empty if nothing does.
/// Different words for the same model (`kv_heads` 0 or as many as `heads`) do not differ.
inline std::string differences(const nn::TransformerConfig& expected, const nn::TransformerConfig& found) {
  std::string list;
  detail::for_each_field(detail::spelt_out(expected), detail::spelt_out(found), [&](const char* name, auto a, auto b) {
    if (a == b) return;
    list.append("\n  ").append(name).append(": expected ").append(detail::cpp_text(a));
    list.append(", found ").append(detail::cpp_text(b));
  });
  return list;
}

/// A named specification as C++, `struct <name> { static constexpr calm::nn::TransformerConfig config{…}; };`, with the
/// fields that are not at their defaults.
inline std::string spec_source(std::string_view name, const nn::TransformerConfig& config) {
  std::string source;
  source.append("struct ").append(name).append(" {\n  static constexpr calm::nn::TransformerConfig config{\n");
  detail::for_each_field(config, nn::TransformerConfig{}, [&](const char* field, auto value, auto otherwise) {
    if (value == otherwise) return;
    source.append("      .").append(field).append(" = ").append(detail::cpp_text(value)).append(",\n");
  });
  return source.append("  };\n};\n");
}

}  // namespace calm::io
