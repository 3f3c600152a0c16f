/// \file  Tensors in safetensors files: mapped where they are used as stored, converted where not, written atomically.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/io/safetensors_header.hpp"
#include "calm/io/sha256.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/tensor.hpp"

namespace calm::io {

namespace detail {

/// The name of type `T` as the compiler spells it, for messages.
template <class T>
constexpr std::string_view type_name() {
  const std::string_view text = __PRETTY_FUNCTION__;  // "... [with T = X; ...]" or "... [T = X]"
  const std::size_t begin = text.find("T = ") + 4;
  return text.substr(begin, std::min(text.find(';', begin), text.rfind(']')) - begin);
}

/// x as a `To`; false if it is a number that `To` cannot hold (fractions are rounded to nearest).
template <class To, class From>
bool convert_one(From x, To& y) {
  if constexpr (std::is_integral_v<To>) {
    y = static_cast<To>(x);
    return x >= std::numeric_limits<To>::min() && x <= std::numeric_limits<To>::max();
  } else if constexpr (std::is_floating_point_v<To>) {
    y = static_cast<To>(x);
  } else {
    y = To(static_cast<float>(x));
  }
  if constexpr (sizeof(To) < sizeof(From) || std::is_same_v<To, f16>)
    return std::isfinite(static_cast<float>(y)) || !std::isfinite(static_cast<double>(x));
  return true;
}

/// y[i] = x[i], x anywhere in memory. The first i whose number does not fit, or n.
template <class From, class To>
std::size_t convert(std::size_t n, const std::byte* x, To* y) {
  std::atomic<std::size_t> bad{n};
  kernel::parallel_ranges(n, 1 << 16, [&](std::size_t begin, std::size_t end) {
    std::size_t first = end;
    for (std::size_t i = end; i-- > begin;) {
      From from;
      std::memcpy(&from, x + i * sizeof(From), sizeof(From));
      if (!convert_one(from, y[i])) first = i;
    }
    if (first == end) return;
    std::size_t seen = bad.load();
    while (first < seen && !bad.compare_exchange_weak(seen, first)) {}
  });
  return bad;
}

/// Whether `load` turns numbers stored as `from` into `to`.
inline bool converts(std::string_view from, std::string_view to) {
  const auto floating = [](std::string_view t) { return t == "F32" || t == "F64" || t == "BF16" || t == "F16"; };
  return floating(to) ? floating(from) : from == "I32" || from == "I64";
}
template <class T>
bool converts_from(std::string_view dtype) {
  return converts(dtype, dtype_name<T>);
}

template <class T>
std::size_t convert_from(std::string_view dtype, std::size_t n, const std::byte* x, T* y) {
  if constexpr (std::is_integral_v<T>) {
    return dtype == "I32" ? convert<std::int32_t>(n, x, y) : convert<std::int64_t>(n, x, y);
  } else {
    if (dtype == "F32") return convert<float>(n, x, y);
    if (dtype == "F64") return convert<double>(n, x, y);
    return dtype == "BF16" ? convert<bf16>(n, x, y) : convert<f16>(n, x, y);
  }
}

/// An axis as messages name it.
struct AxisName {
  std::size_t extent;
  std::string_view name;
};

/// What is wrong with `found`, or nothing. Dynamic axes take any extent.
CALM_INLINE std::string axes_mismatch(std::span<const AxisName> axes, const std::vector<std::size_t>& found);

template <class X>
struct ExpectedShape;
template <class T, class Device, class... Axes>
struct ExpectedShape<Tensor<T, Device, Axes...>> {
  static constexpr std::array<AxisName, sizeof...(Axes)> axes{{{Axes::extent, type_name<Axes>()}...}};

  static Shape<Axes...> shape(const std::vector<std::size_t>& found) {
    std::array<std::size_t, Shape<Axes...>::dynamic_rank> extents{};
    std::size_t i = 0, count = 0;
    ((Axes::extent == dynamic ? void(extents[count++] = found[i++]) : void(++i)), ...);
    return Shape<Axes...>::from(extents);
  }
};

/// The metadata key under which a file names its own contents.
inline constexpr const char* digest_key = "calm.sha256";

/// Takes a tensor in: name, dtype, extents, bytes; numbers are 64 bits and stand in front of what they count.
CALM_INLINE void update_tensor(Sha256& digest, std::string_view name, std::string_view dtype,
                               std::span<const std::size_t> extents, const void* data, std::size_t bytes);

}  // namespace detail

/// Whether a number that is not stored in the wanted type is converted or refused.
enum class Conversion { allow, refuse };

/// A safetensors file, checked in full when it is opened. Tensors that it hands out keep its memory alive.
class SafetensorsFile {
 public:
  /// Maps `path` and checks everything that its header says. Throws `Error`, also later if the file is then shorter.
  static SafetensorsFile open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const SafetensorsMetadata& metadata() const { return header_.metadata; }
  /// In alphabetical order.
  std::vector<std::string> names() const;
  std::size_t size() const { return header_.tensors.size(); }
  bool contains(std::string_view name) const { return header_.tensors.contains(name); }

  /// What the header says of tensor `name`; throws `Error` if there is none.
  const SafetensorsEntry& entry(std::string_view name) const;

  /// The bytes of tensor `name`, aligned to nothing.
  const std::byte* data(std::string_view name) const { return begin_of(entry(name)); }

  /// Compares metadata and tensors with the digest that `add_digest` of the writer put there. Throws `Error` if they
  /// differ. A file without one passes: others write none.
  void check_digest() const;

  /// Throws the `Error` that `load` would, as far as the header tells.
  template <class X>
  void check(std::string_view name, Conversion conversion = Conversion::allow) const {
    using T = typename X::value_type;
    static_assert(detail::stored_type_index(dtype_name<T>) < detail::stored_types.size(),
                  "calm::io::SafetensorsFile::load: this element type has no name in the format");
    check(name, dtype_name<T>, detail::ExpectedShape<X>::axes, conversion);
  }
  /// The same for elements and axes that are known by their names alone.
  void check(std::string_view name, std::string_view dtype, std::span<const detail::AxisName> axes,
             Conversion conversion) const;

  /// Tensor `name` as a tensor type `X`, whose axes must be those stored. Stored as `X::value_type` and aligned, it
  /// shares the mapped memory, which is read-only (clone it to write); else it is converted into memory of its own,
  /// rounding to nearest. Throws `Error` for a missing tensor, another shape, a dtype that does not convert (floating
  /// types convert to each other, I64 to I32), and a number beyond the range of the wanted type.
  template <class X>
  X load(std::string_view name, Conversion conversion = Conversion::allow) const {
    using T = typename X::value_type;
    static_assert(std::is_same_v<typename X::device, Cpu>, "calm::io::SafetensorsFile::load: load to Cpu, then move");
    check<X>(name, conversion);
    const auto shape = detail::ExpectedShape<X>::shape(entry(name).shape);
    auto part = read<T>(name, 0, shape.size());
    return X(std::move(part.storage), part.data, shape);
  }

  /// Elements of a tensor, and the memory that they lie in.
  template <class T>
  struct Part {
    Storage<Cpu> storage;
    T* data;
  };

  /// Elements [first, first + count) of tensor `name`, which must have them, as `T`; memory and errors as for `load`.
  template <class T>
  Part<T> read(std::string_view name, std::size_t first, std::size_t count) const {
    const SafetensorsEntry& e = entry(name);
    const bool as_stored = e.dtype == dtype_name<T>;
    if (!as_stored && !detail::converts_from<T>(e.dtype)) fail_dtype(name, dtype_name<T>, e.dtype, false);
    const std::size_t elements = e.bytes * 8 / detail::stored_types[detail::stored_type_index(e.dtype)].bits;
    if (first > elements || count > elements - first) fail(name, "expected more elements than it has");
    const std::byte* from = begin_of(e) + (count > 0 ? first * (e.bytes / elements) : 0);
    if (as_stored && reinterpret_cast<std::uintptr_t>(from) % alignof(T) == 0)
      return {file_.storage(), reinterpret_cast<T*>(const_cast<std::byte*>(from))};
    Storage<Cpu> storage(count * sizeof(T));
    T* to = static_cast<T*>(storage.data());
    if (as_stored) {
      if (count > 0) std::memcpy(to, from, count * sizeof(T));
      return {std::move(storage), to};
    }
    const std::size_t bad = detail::convert_from(e.dtype, count, from, to);
    if (bad != count)
      fail(name, "element " + std::to_string(first + bad) + ", stored as " + std::string(e.dtype) +
                     ", is beyond the range of " + dtype_name<T>);
    return {std::move(storage), to};
  }

 private:
  SafetensorsFile(MappedFile file, SafetensorsHeader header) : file_(std::move(file)), header_(std::move(header)) {}

  const std::byte* begin_of(const SafetensorsEntry& e) const {
    file_.require_whole();
    return file_.data() + header_.data_begin + e.offset;
  }

  [[noreturn]] void fail_dtype(std::string_view name, std::string_view wanted, std::string_view found,
                               bool possible) const;

  [[noreturn]] void fail(std::string_view name, const std::string& what) const;

  MappedFile file_;
  SafetensorsHeader header_;
};

/// Collects tensors and writes them to one safetensors file: sorted by dtype, the widest first, then by name, as the
/// reference does; the metadata always say `"format": "pt"`, without which transformers refuses a file.
///
/// It shares the tensors' memory and so keeps it from being written while it lives; let it go before training goes on.
class SafetensorsWriter {
 public:
  /// Throws `Error` if there is a tensor `name` already, or `tensor` has no memory.
  template <class T, Axis... Axes>
  void add(std::string name, const Tensor<T, Cpu, Axes...>& tensor) {
    constexpr std::size_t type = detail::stored_type_index(dtype_name<T>);
    static_assert(type < detail::stored_types.size(),
                  "calm::io::SafetensorsWriter::add: this element type has no name in the format");
    const auto extents = tensor.shape().extents();
    add(std::move(name), {detail::stored_types[type].name, {extents.begin(), extents.end()}, tensor.size() * sizeof(T),
                          0}, tensor.storage(), tensor.data());
  }
  /// The same for a tensor whose type is known by its name alone; its place in the file is chosen by `save`.
  void add(std::string name, SafetensorsEntry entry, Storage<Cpu> storage, const void* data);

  /// Throws `Error` if `key` is there already.
  void set_metadata(std::string key, std::string value);

  /// Puts the SHA-256 of all metadata and tensors into the metadata, so that an altered file can be told; call it last.
  void add_digest();

  /// Writes the file, whole or not at all (`AtomicFile`). Throws `Error`.
  void save(const std::string& path) const;

 private:
  struct Item {
    SafetensorsEntry entry;
    Storage<Cpu> storage;
    const void* data;
  };

  std::map<std::string, Item, std::less<>> items_;
  SafetensorsMetadata metadata_{{"format", "pt"}};
};

}  // namespace calm::io

#ifndef CALM_COMPILED
#include "calm/io/safetensors.ipp"
#endif
