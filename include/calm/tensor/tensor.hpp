/// \file  The tensor: a typed shape over reference-counted device memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <utility>

#include "calm/tensor/axis.hpp"
#include "calm/tensor/cpu/memory.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/storage.hpp"

namespace calm {

/// A pointer and the dynamic extents, owning nothing; one pointer wide when every axis is static.
template <class T, class Device, Axis... Axes>
struct View {
  T* data = nullptr;
  [[no_unique_address]] Shape<Axes...> shape;
};

namespace detail {

// No template, as whatever every type of tensor would compile again.
inline void require_sole_owner(bool sole) {
  require(sole, [] {
    return std::string("calm::Tensor::mutable_data: the memory is shared with another handle; clone() it first");
  });
}

}  // namespace detail

/// A dense row-major array of `T` on `Device`. Copies share the memory; `clone()` copies the elements.
///
/// Elements are read through `data()`. They are written through `mutable_data()`, which refuses to write memory that
/// another handle also holds: what was handed to somebody else cannot change under them.
template <class T, class Device, Axis... Axes>
class Tensor {
 public:
  using value_type = T;
  using device = Device;
  using shape_type = Shape<Axes...>;
  static constexpr std::size_t rank = sizeof...(Axes);

  /// No memory at all (`!defined()`).
  Tensor() = default;
  /// Uninitialised elements.
  explicit Tensor(shape_type shape, Place place = place_for<T>)
      : storage_(shape.size() * sizeof(T), place), shape_(shape) {
    data_ = static_cast<T*>(storage_.data());
  }
  /// A part of (or all of) `storage`, beginning at `data`.
  Tensor(Storage<Device> storage, T* data, shape_type shape)
      : storage_(std::move(storage)), data_(data), shape_(shape) {}

  static Tensor full(shape_type shape, T value) {
    Tensor t(shape);
    if constexpr (readable) std::fill_n(t.data_, t.size(), value);
    else kernel::fill(Device{}, t.size(), value, t.data_);
    return t;
  }
  static Tensor zeros(shape_type shape) { return full(shape, T{}); }
  /// Copies `values` of the host, which must be as many as the shape says.
  static Tensor from(shape_type shape, const T* values) {
    Tensor t(shape);
    if constexpr (readable) std::copy_n(values, t.size(), t.data_);
    else kernel::copy_from_host(Device{}, t.size() * sizeof(T), values, t.data_);
    return t;
  }
  /// The same; throws `Error` for another number of values.
  static Tensor from(shape_type shape, std::initializer_list<T> values) {
    detail::require(values.size() == shape.size(), [&] {
      return "calm::Tensor::from: expected " + std::to_string(shape.size()) + " values, found " +
             std::to_string(values.size());
    });
    return from(shape, values.begin());
  }

  bool defined() const { return data_ != nullptr; }
  const shape_type& shape() const { return shape_; }
  std::size_t extent(std::size_t axis) const { return shape_.extent(axis); }
  std::size_t size() const { return defined() ? shape_.size() : 0; }
  const T* data() const { return data_; }
  const Storage<Device>& storage() const { return storage_; }

  /// The elements, to be written. Throws `Error` while another handle holds the memory.
  T* mutable_data() {
    detail::require_sole_owner(storage_.unique());
    if constexpr (readable && !std::is_same_v<Device, Cpu>) storage_.wait_for_readers();
    return data_;
  }

  View<const T, Device, Axes...> view() const { return {data_, shape_}; }
  /// Element i in row-major order.
  const T& operator[](std::size_t i) const {
    static_assert(readable, "calm::Tensor: the elements are in a device's memory; read those of on_host(x)");
    return data_[i];
  }

  /// The same elements in memory of their own.
  Tensor clone() const {
    if constexpr (readable) {
      return from(shape_, data_);
    } else {
      Tensor t(shape_);
      kernel::copy(Device{}, t.size(), data_, t.data_);
      return t;
    }
  }

 private:
  static constexpr bool readable = host_reads<T, Device>;

  Storage<Device> storage_;
  T* data_ = nullptr;
  [[no_unique_address]] shape_type shape_;
};

static_assert(sizeof(View<float, Cpu, One>) == sizeof(void*), "a static view is one pointer");
static_assert(sizeof(Tensor<float, Cpu, One>) == 2 * sizeof(void*), "a static tensor is a handle and a pointer");

namespace detail {

template <class X>
inline constexpr bool is_tensor = false;
template <class T, class D, class... A>
inline constexpr bool is_tensor<Tensor<T, D, A...>> = true;

template <class X, class NewLast, class Lead>
struct WithLast;
template <class T, class D, class... A, class NewLast, std::size_t... I>
struct WithLast<Tensor<T, D, A...>, NewLast, std::index_sequence<I...>> {
  using type = Tensor<T, D, AxisAt<I, A...>..., NewLast>;
};

template <class X, class Device>
struct WithDevice;
template <class T, class D, class... A, class Device>
struct WithDevice<Tensor<T, D, A...>, Device> {
  using type = Tensor<T, Device, A...>;
};

template <class X>
struct AxesOf;
template <class T, class D, class... A>
struct AxesOf<Tensor<T, D, A...>> {
  template <std::size_t I>
  using at = AxisAt<I, A...>;
  using last = LastAxis<A...>;
  static constexpr std::size_t count = sizeof...(A);
};

}  // namespace detail

/// The last (contiguous) axis of tensor type `X`.
template <class X>
using LastAxisOf = typename detail::AxesOf<X>::last;

/// Axis `I` of tensor type `X`, counted from 0.
template <class X, std::size_t I>
using AxisOf = typename detail::AxesOf<X>::template at<I>;

/// Tensor type `X` on another device.
template <class X, class Device>
using OnDevice = typename detail::WithDevice<X, Device>::type;

/// Tensor type `X` with its last axis replaced.
template <class X, class NewLast>
using WithLastAxis =
    typename detail::WithLast<X, NewLast, std::make_index_sequence<detail::AxesOf<X>::count - 1>>::type;

/// The tensor on another device: itself, sharing its memory, where it is there already. To the host, it waits until the
/// elements are computed.   x: [...] -> [...]
template <class To, class T, class From, class... A>
Tensor<T, To, A...> move_to(Tensor<T, From, A...> x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else {
    static_assert(std::is_same_v<To, Cpu> || std::is_same_v<From, Cpu>,
                  "calm::move_to: from device to device, go through calm::Cpu");
    if (!x.defined()) return {};
    if constexpr (std::is_same_v<From, Cpu>) {
      return Tensor<T, To, A...>::from(x.shape(), x.data());
    } else {
      Tensor<T, Cpu, A...> y(x.shape());
      kernel::copy_to_host(From{}, y.size() * sizeof(T), x.data(), y.mutable_data());
      return y;
    }
  }
}

/// What the host reads: `x` itself, or a copy of what a device holds.
template <class T, class Device, class... A>
Tensor<T, Cpu, A...> on_host(Tensor<T, Device, A...> x) {
  return move_to<Cpu>(std::move(x));
}

/// The number of elements before the last axis.
template <class T, class D, class... A>
std::size_t rows_of(const Tensor<T, D, A...>& x) {
  const auto e = x.shape().extents();
  std::size_t n = 1;
  for (std::size_t i = 0; i + 1 < e.size(); ++i) n *= e[i];
  return n;
}

}  // namespace calm
