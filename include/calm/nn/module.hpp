/// \file  What a module is: a struct with parameters, a formula, and one `visit` line.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "calm/tensor/packed_tensor.hpp"
#include "calm/tensor/var.hpp"

namespace calm::nn {

namespace detail {

template <class P>
inline constexpr bool is_parameter = false;
template <class T>
inline constexpr bool is_parameter<FrozenParameter<T>> = true;
template <class T>
inline constexpr bool is_parameter<TrainableParameter<T>> = true;
template <class Stored, class T>
inline constexpr bool is_parameter<PackedParameter<Stored, T>> = true;

template <class P>
inline constexpr bool is_list = false;
template <class M, std::size_t N>
inline constexpr bool is_list<std::array<M, N>> = true;
template <class M>
inline constexpr bool is_list<std::vector<M>> = true;

// Out of line: it is called once per module and visitor, and inlined it took a tenth of a program's time to compile.
[[gnu::noinline]] inline std::string joined(const std::string& prefix, std::string_view name) {
  std::string path;
  path.reserve(prefix.size() + 1 + name.size());
  path += prefix;
  if (!prefix.empty()) path += '.';
  path += name;
  return path;
}

template <class F>
struct Walk {
  F& f;
  const std::string& prefix;

  template <class M>
  void operator()(std::string_view name, M& child) const {
    const std::string path = joined(prefix, name);
    if constexpr (is_parameter<M>) {
      f(path, child);
    } else if constexpr (is_list<M>) {
      for (std::size_t i = 0; i < child.size(); ++i) Walk{f, path}(std::to_string(i), child[i]);
    } else {
      child.visit(Walk{f, path});
    }
  }
};

}  // namespace detail

/// Calls f(path, parameter) for every parameter of `module`, in the order of its `visit` lines. The path joins the
/// names with dots ("layers.0.mlp.up_proj.weight"), as checkpoints do.
template <class M, class F>
void for_each_parameter(M& module, F&& f) {
  const std::string root;
  module.visit(detail::Walk<F>{f, root});
}

/// Calls f(path, parameter) for every trainable parameter.
template <class M, class F>
void for_each_trainable(M& module, F&& f) {
  for_each_parameter(module, [&](const std::string& path, auto& parameter) {
    if constexpr (std::remove_cvref_t<decltype(parameter)>::trainable) f(path, parameter);
  });
}

}  // namespace calm::nn
