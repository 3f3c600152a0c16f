/// \file  A trainable parameter with its type erased: what optimizers, checkpoints and kept copies do with one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "calm/tensor/cpu/adamw.hpp"  // sum_of_squares
#include "calm/tensor/tensor.hpp"
#include "calm/tensor/var.hpp"

namespace calm::train::detail {

/// The functions know the type.
struct ParameterEntry {
  std::string path;
  void* parameter = nullptr;
  std::vector<std::size_t> extents;
  std::size_t size = 0, bytes = 0;
  double rate_factor = 1, weight_decay = 0;
  std::uint64_t frozen_updates = 0;

  double (*squares)(const void* parameter, double* partial) = nullptr;  ///< Σ g²
  bool (*writable)(const void* parameter, std::size_t size) = nullptr;
  void* (*data)(void* parameter) = nullptr;
  void (*zero)(void* parameter) = nullptr;
  /// Adds the parameter, or what `instead` holds, to a file.
  void (*add)(const ParameterEntry&, const Storage<Cpu>* instead, io::SafetensorsWriter&) = nullptr;
  /// Throws `Error` unless the file has such a parameter.
  void (*check)(const ParameterEntry&, const io::SafetensorsFile&) = nullptr;
  /// Reads the file's into memory of the parameter's own.
  void (*read)(const ParameterEntry&, const io::SafetensorsFile&) = nullptr;

  std::string name() const { return "parameter." + path; }
};

template <class P>
ParameterEntry make_entry(const std::string& path, P& parameter) {
  using X = typename P::tensor_type;
  using T = typename X::value_type;
  static_assert(std::is_same_v<typename X::device, Cpu>, "calm::train: the optimizers' kernels are those of calm::Cpu");
  ParameterEntry e;
  e.path = path;
  e.parameter = &parameter;
  const auto extents = parameter.value().shape().extents();
  e.extents.assign(extents.begin(), extents.end());
  e.size = parameter.value().size();
  e.bytes = e.size * sizeof(T);
  e.squares = [](const void* p, double* partial) {
    const P& x = *static_cast<const P*>(p);
    return x.gradient() ? kernel::sum_of_squares(Cpu{}, x.value().size(), x.gradient(), partial) : 0.0;
  };
  e.writable = [](const void* p, std::size_t size) {
    const X& x = static_cast<const P*>(p)->value();
    return x.storage().unique() && x.size() == size;
  };
  e.data = [](void* p) -> void* { return static_cast<P*>(p)->mutable_value().mutable_data(); };
  e.zero = [](void* p) { static_cast<P*>(p)->zero_gradient(); };
  e.add = [](const ParameterEntry& self, const Storage<Cpu>* instead, io::SafetensorsWriter& writer) {
    const X& x = static_cast<const P*>(self.parameter)->value();
    writer.add(self.name(), instead ? X(*instead, static_cast<T*>(instead->data()), x.shape()) : x);
  };
  e.check = [](const ParameterEntry& self, const io::SafetensorsFile& file) {
    file.check<X>(self.name(), io::Conversion::refuse);
  };
  e.read = [](const ParameterEntry& self, const io::SafetensorsFile& file) {
    static_cast<P*>(self.parameter)->assign(file.load<X>(self.name()).clone());  // mapped memory is read-only
  };
  return e;
}

}  // namespace calm::train::detail
