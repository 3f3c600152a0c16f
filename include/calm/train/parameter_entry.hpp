/// \file  A trainable parameter with its type erased: what optimizers, checkpoints and kept copies do with one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "calm/tensor/tensor.hpp"
#include "calm/tensor/var.hpp"

namespace calm::train::detail {

/// What is done with the memory of a device, where its type is not known: a Storage and a GradientBuffer of it.
struct ParameterDevice {
  bool (*unique)(const void* storage);
  const void* (*gradient)(const void* buffer);
  void (*zero)(void* buffer);
  void (*copy_from_host)(std::size_t bytes, const void* from, void* to);
  void (*copy_to_host)(std::size_t bytes, const void* from, void* to);
};

template <class Device>
inline constexpr ParameterDevice parameter_device{
    [](const void* storage) { return static_cast<const Storage<Device>*>(storage)->unique(); },
    [](const void* buffer) -> const void* {
      return static_cast<const GradientBuffer<Device>*>(buffer)->template data<void>();
    },
    [](void* buffer) { static_cast<GradientBuffer<Device>*>(buffer)->ready = false; },
    [](std::size_t bytes, const void* from, void* to) { kernel::copy_from_host(Device{}, bytes, from, to); },
    [](std::size_t bytes, const void* from, void* to) { kernel::copy_to_host(Device{}, bytes, from, to); }};

/// What is known of a type of parameter. Its functions are the only ones that a program has of each: all others are
/// compiled once, or once per type of element.
struct ParameterType {
  struct Memory {
    const void* storage;  ///< a Storage of the device
    void* data;
    std::size_t size;  ///< elements
  };

  const char* dtype;
  const ParameterDevice* device;
  std::size_t element_bytes;
  std::span<const io::detail::AxisName> axes;
  Memory (*memory)(void* parameter);
  void (*assign)(void* parameter, Storage<Cpu> storage);  ///< its elements from now on, of an equal shape
};

template <class P>
struct ParameterTypeOf;
template <template <class> class P, class T, class Device, class... Axes>
struct ParameterTypeOf<P<Tensor<T, Device, Axes...>>> {
  using X = Tensor<T, Device, Axes...>;
  static ParameterType::Memory memory(void* parameter) {
    P<X>& p = *static_cast<P<X>*>(parameter);
    const X& x = p.value();
    p.changed();  // as far as anybody knows: who asks may write
    return {&x.storage(), const_cast<T*>(x.data()), x.size()};
  }
  static void assign(void* parameter, Storage<Cpu> storage) {
    P<X>& p = *static_cast<P<X>*>(parameter);
    T* const data = static_cast<T*>(storage.data());
    p.assign(move_to<Device>(OnDevice<X, Cpu>(std::move(storage), data, p.value().shape())));
  }
  static constexpr ParameterType value{dtype_name<T>, &parameter_device<Device>, sizeof(T),
                                       io::detail::ExpectedShape<X>::axes, &memory, &assign};
};

struct ParameterEntry {
  std::string path;
  void* parameter = nullptr;
  const ParameterType* type = nullptr;
  void* gradient_buffer = nullptr;  ///< a GradientBuffer of the device
  std::vector<std::size_t> extents;
  std::size_t size = 0, bytes = 0;
  double rate_factor = 1, weight_decay = 0;
  std::uint64_t frozen_updates = 0;

  std::string name() const { return "parameter." + path; }

  /// Whether the parameter's memory is its own and has the size that it had.
  bool writable() const {
    const ParameterType::Memory memory = type->memory(parameter);
    return type->device->unique(memory.storage) && memory.size == size;
  }
  void* data() const { return type->memory(parameter).data; }
  /// Null where no gradient has arrived: it is zero.
  const void* gradient() const { return type->device->gradient(gradient_buffer); }
  void zero_gradient() const { type->device->zero(gradient_buffer); }
  /// As `data`, to be written. Throws `Error` if somebody else holds it.
  void* mutable_data() const {
    calm::detail::require(writable(), [&] {
      return "calm::train: parameter " + path + " shares its memory with another handle, or has another size than when "
             "the optimizer was made; drop copies first";
    });
    return data();
  }

  /// Adds the parameter, or what `instead` holds, to a file. What is on the host is shared with it.
  void add(const Storage<Cpu>* instead, io::SafetensorsWriter& writer) const {
    const ParameterType::Memory memory = type->memory(parameter);
    Storage<Cpu> storage;
    const void* from = memory.data;
    if (instead) {
      storage = *instead;
      from = storage.data();
    } else if (type->device == &parameter_device<Cpu>) {
      storage = *static_cast<const Storage<Cpu>*>(memory.storage);
    } else {
      storage = Storage<Cpu>(bytes);
      type->device->copy_to_host(bytes, memory.data, storage.data());
      from = storage.data();
    }
    writer.add(name(), {type->dtype, extents, bytes, 0}, std::move(storage), from);
  }
  /// Throws `Error` unless the file has such a parameter.
  void check(const io::SafetensorsFile& file) const {
    file.check(name(), type->dtype, type->axes, io::Conversion::refuse);
  }
  /// Reads the file's, which was checked, into memory of the parameter's own.
  void read(const io::SafetensorsFile& file) const {
    Storage<Cpu> storage(bytes);
    if (bytes > 0) std::memcpy(storage.data(), file.data(name()), bytes);
    type->assign(parameter, std::move(storage));
  }
};

inline ParameterEntry make_entry(const std::string& path, void* parameter, const ParameterType& type,
                                 void* gradient_buffer, std::span<const std::size_t> extents) {
  ParameterEntry e;
  e.path = path;
  e.parameter = parameter;
  e.type = &type;
  e.gradient_buffer = gradient_buffer;
  e.extents.assign(extents.begin(), extents.end());
  e.size = type.memory(parameter).size;
  e.bytes = e.size * type.element_bytes;
  return e;
}

}  // namespace calm::train::detail
