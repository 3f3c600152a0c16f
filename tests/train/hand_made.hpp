/// \file  Modules without a formula, whose parameters and gradients a test sets by hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "calm/io/safetensors.hpp"
#include "calm/nn/module.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

namespace calm::test {

template <class T, class Mode = Trainable>
struct Layer {
  Parameter<Mode, Tensor<T, Cpu, Two, Three>> weight;
  Parameter<Mode, Tensor<T, Cpu, Three>> bias;

  void visit(auto&& v) {
    v("weight", weight);
    v("bias", bias);
  }
};

/// A module with parameters of several shapes, long enough to be cut into ranges, some of them frozen.
struct Long {
  static constexpr std::size_t extent = 40'001;
};
template <class T>
struct Network {
  Layer<T, Frozen> base;
  Layer<T> head;
  TrainableParameter<Tensor<T, Cpu, Two, Long>> table;

  void visit(auto&& v) {
    v("base", base);
    v("head", head);
    v("table", table);
  }
};

template <class P, class T>
void set_gradient(P& p, const T* values) {
  auto& buffer = p.gradient_buffer();
  using U = typename P::tensor_type::value_type;
  const std::size_t n = p.value().size();
  buffer.bytes = n * sizeof(U);
  if (!buffer.storage) buffer.storage = Storage<Cpu>(buffer.bytes);
  for (std::size_t i = 0; i < n; ++i) static_cast<U*>(buffer.storage.data())[i] = static_cast<U>(values[i]);
  buffer.ready = true;
}

template <class P>
void set_random_gradient(P& p, std::uint64_t seed) {
  using X = typename P::tensor_type;
  set_gradient(p, random_tensor<X>(p.value().shape(), seed).data());
}

template <class M>
void initialise(M& module, std::uint64_t seed) {
  nn::for_each_parameter(module, [&](const std::string&, auto& p) {
    using X = typename std::remove_cvref_t<decltype(p)>::tensor_type;
    p.assign(random_tensor<X>({}, seed++));
  });
}

template <class M>
void random_gradients(M& module, std::uint64_t seed) {
  nn::for_each_trainable(module, [&](const std::string&, auto& p) { set_random_gradient(p, seed++); });
}

template <class X>
bool same_bits(const X& a, const X& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(typename X::value_type)) == 0;
}

/// Writes an optimizer's state as checkpoints hold it.
template <class O>
void save_state(const O& optimizer, const std::string& path) {
  io::SafetensorsWriter writer;
  optimizer.add_to(writer);
  writer.add_digest();
  writer.save(path);
}

template <class O>
void load_state(O& optimizer, const std::string& path) {
  optimizer.load(io::SafetensorsFile::open(path));
}

}  // namespace calm::test
