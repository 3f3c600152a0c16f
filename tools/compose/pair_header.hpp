/// \file  The header that makes of two model directories a composition's type.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/io/hugging_face/config_fields.hpp"
#include "calm/nn/config.hpp"
#include "calm/tensor/error.hpp"
#include "tools/compose/links.hpp"

namespace calm::programs {

/// What of a composition is decided before it is compiled.
struct Pair {
  nn::TransformerConfig anchor, augment;
  std::vector<LinkPair> links;
  std::string bridge = "normalised";  ///< a preset of calm::bridge, by its name in lower case
  std::optional<std::size_t> heads{}, rank{};
  std::string dtype = "bf16";  ///< of the frozen models' packed matrices: bf16 or fp32; all else is in fp32
  bool own_tokenizer = false;  ///< the augment's is not the anchor's
};

namespace detail {

/// What is called `name` in a list of names and of what they are called in C++.
template <std::size_t N>
std::string_view in_cpp(const std::array<std::pair<std::string_view, std::string_view>, N>& names,
                        const std::string& option, std::string_view name) {
  std::string known;
  for (const auto& [here, there] : names) {
    if (here == name) return there;
    known.append(known.empty() ? "" : ", ").append(here);
  }
  throw Error(option + " " + std::string(name) + ": expected one of " + known);
}

inline std::string_view bridge_in_cpp(std::string_view name) {
  return in_cpp(std::array<std::pair<std::string_view, std::string_view>, 6>{{{"normalised", "Normalised"},
                                                                              {"local", "Local"},
                                                                              {"paper", "Paper"},
                                                                              {"encoder", "Encoder"},
                                                                              {"flamingo", "Flamingo"},
                                                                              {"deepmind", "DeepMind"}}},
                "--bridge", name);
}
inline std::string_view dtype_in_cpp(std::string_view name) {
  return in_cpp(
      std::array<std::pair<std::string_view, std::string_view>, 2>{{{"bf16", "calm::bf16"}, {"fp32", "float"}}},
      "--dtype", name);
}

inline void check_bridge(const Pair& pair) {
  const auto fail = [](const std::string& option, std::size_t value, const std::string& what) {
    throw Error(option + " " + std::to_string(value) + ": " + what);
  };
  const std::size_t hidden = pair.anchor.hidden, narrow = std::min(hidden, pair.augment.hidden);
  if (pair.heads && (*pair.heads == 0 || hidden % *pair.heads != 0))
    fail("--bridge-heads", *pair.heads, "they do not divide the anchor's width of " + std::to_string(hidden));
  if (pair.rank && (*pair.rank == 0 || *pair.rank > narrow))
    fail("--bridge-rank", *pair.rank, "expected 1 to " + std::to_string(narrow) + ", the narrower model's width");
}

}  // namespace detail

/// The C++ of `pair`: its specifications, bridges and links in namespace `pair`, and the type `pair::Model`. Throws
/// `Error` for names and numbers that would not compile.
inline std::string pair_header(const Pair& pair) {
  const std::string_view preset = detail::bridge_in_cpp(pair.bridge), type = detail::dtype_in_cpp(pair.dtype);
  detail::check_bridge(pair);
  std::string part = pair.own_tokenizer ? "Retokenized" : "With", links;
  for (const auto& [augment, anchor] : pair.links) {
    links.append(links.empty() ? "" : ", ").append("calm::Link<").append(std::to_string(augment));
    links.append(", ").append(std::to_string(anchor)).append(">");
  }
  std::string text = "// Written by calm-pair.\n#pragma once\n\n#include \"calm/compose/compose.hpp\"\n";
  if (pair.own_tokenizer) text += "#include \"calm/compose/retokenized.hpp\"\n";
  text.append("\nnamespace pair {\n\n").append(io::spec_source("AnchorSpec", pair.anchor)).append("\n");
  text.append(io::spec_source("AugmentSpec", pair.augment)).append("\n");
  text.append("struct Options {\n  static constexpr calm::BridgeConfig config = [] {\n");
  text.append("    calm::BridgeConfig c = calm::bridge::").append(preset).append("::config;\n");
  if (pair.heads) text.append("    c.heads = ").append(std::to_string(*pair.heads)).append(";\n");
  if (pair.rank) text.append("    c.rank = ").append(std::to_string(*pair.rank)).append(";\n");
  text.append("    return c;\n  }();\n};\n\n");
  for (const char* model : {"Anchor", "Augment"}) {
    text.append("using ").append(model).append(" = calm::nn::Transformer<").append(model);
    text.append("Spec, float, calm::Cpu, calm::FrozenAs<").append(type).append(">>;\n");
  }
  text.append("using Links = calm::LayerMap<").append(links).append(">;\n");
  text.append("using Model = calm::Compose<Anchor, calm::").append(part).append("<Augment, Links, Options>>;\n");
  return text.append("\n}  // namespace pair\n");
}

}  // namespace calm::programs
