/// \file  What a module is: a struct with parameters, a formula, and one `visit` line.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
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

// Out of line, and one path for all: a walk is compiled once per module and visitor.
[[gnu::noinline]] inline void append_name(std::string& path, std::string_view name) {
  if (!path.empty()) path += '.';
  path += name;
}
[[gnu::noinline]] inline void append_name(std::string& path, std::size_t number) {
  append_name(path, std::to_string(number));
}

template <class F>
struct Walk {
  F& f;
  std::string& path;  // of the module that is visited

  template <class M>
  void operator()(std::string_view name, M& child) const {
    visit(name, child);
  }
  template <class M>
  void visit(auto name, M& child) const {
    const std::size_t above = path.size();
    append_name(path, name);
    if constexpr (is_parameter<M>) {
      f(std::as_const(path), child);
    } else if constexpr (is_list<M>) {
      for (std::size_t i = 0; i < child.size(); ++i) visit(i, child[i]);
    } else {
      child.visit(*this);
    }
    path.resize(above);
  }
};

struct Settling {
  template <class M>
  void operator()(std::string_view, M& child) const {
    visit(child);
  }
  template <class M>
  void visit(M& child) const {
    if constexpr (is_list<M>) {
      for (auto& one : child) visit(one);
    } else if constexpr (!is_parameter<M>) {
      child.visit(*this);
      if constexpr (requires { child.settle(); }) child.settle();
    }
  }
};

}  // namespace detail

/// Calls f(path, parameter) for every parameter of `module`, in the order of its `visit` lines. The path joins the
/// names with dots ("layers.0.mlp.up_proj.weight"), as checkpoints do.
template <class M, class F>
void for_each_parameter(M& module, F&& f) {
  std::string path;
  const detail::Walk<F> walk{f, path};
  module.visit(walk);
}

/// For who has assigned the parameters of `module`, as loading and initialising do: modules in it that have a member
/// `settle()` may now put theirs where products read them faster.
template <class M>
void settle(M& module) {
  detail::Settling{}.visit(module);
}

/// Calls f(path, parameter) for every trainable parameter.
template <class M, class F>
void for_each_trainable(M& module, F&& f) {
  for_each_parameter(module, [&](const std::string& path, auto& parameter) {
    if constexpr (std::remove_cvref_t<decltype(parameter)>::trainable) f(path, parameter);
  });
}

}  // namespace calm::nn
