/// \file  Modules without a formula, whose parameters and gradients a test sets by hand.
#pragma once

#include <algorithm>
#include <cmath>
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

struct EightSteps {
  static constexpr std::size_t extent = 8;
};

/// The largest difference of parameters from those of torch's optimizer in fixture `path`, over eight steps of the one
/// that `make(layer)` returns; `check(optimizer, step)` runs in front of each.
template <class T, class Make, class Check>
double largest_difference_from_torch(const std::string& path, const Make& make, const Check& check) {
  const auto file = io::SafetensorsFile::open(path);
  const auto weights = file.load<Tensor<T, Cpu, EightSteps, Two, Three>>("gradients.weight");
  const auto biases = file.load<Tensor<T, Cpu, EightSteps, Three>>("gradients.bias");
  const auto expected_weights = file.load<Doubles<EightSteps, Two, Three>>("values.weight");
  const auto expected_biases = file.load<Doubles<EightSteps, Three>>("values.bias");
  const auto rates = file.load<Doubles<EightSteps>>("rates");

  Layer<T> layer;
  layer.weight.assign(file.load<Tensor<T, Cpu, Two, Three>>("initial.weight").clone());
  layer.bias.assign(file.load<Tensor<T, Cpu, Three>>("initial.bias").clone());
  auto optimizer = make(layer);
  double largest = 0;
  for (std::size_t step = 0; step < 8; ++step) {
    set_gradient(layer.weight, weights.data() + 6 * step);
    set_gradient(layer.bias, biases.data() + 3 * step);
    check(optimizer, step);
    optimizer.step(rates[step]);
    optimizer.zero_gradients();
    for (std::size_t i = 0; i < 6; ++i)
      largest = std::max(largest, std::abs(double(layer.weight.value()[i]) - expected_weights[6 * step + i]));
    for (std::size_t i = 0; i < 3; ++i)
      largest = std::max(largest, std::abs(double(layer.bias.value()[i]) - expected_biases[3 * step + i]));
  }
  return largest;
}

}  // namespace calm::test
