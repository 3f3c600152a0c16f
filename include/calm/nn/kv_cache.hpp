/// \file  Keys and values of texts seen so far.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "calm/nn/layout.hpp"

namespace calm::nn {

/// The keys and values of one attention layer for a batch of texts.   [Batch, Positions, KvHeads, Width]
template <class T, class Device, Axis Positions, Axis KvHeads, Axis Width>
class KeyValueCache {
 public:
  using Rows = Tensor<T, Device, Batch, Positions, KvHeads, Width>;

  KeyValueCache() = default;
  KeyValueCache(std::size_t batch, std::size_t capacity)
      : keys_(Shape<Batch, Positions, KvHeads, Width>(batch, capacity)),
        values_(Shape<Batch, Positions, KvHeads, Width>(batch, capacity)) {}

  std::size_t capacity() const { return keys_.extent(1); }
  const Rows& keys() const { return keys_; }
  const Rows& values() const { return values_; }

  /// Writes the rows of new tokens, padding excepted, at their positions.   new_keys, new_values: [Batch, New, …]
  template <class New>
  void put(const New& new_keys, const New& new_values, const Layout<Device>& layout) {
    const std::size_t width = KvHeads::extent * Width::extent, time = layout.time();
    T* to_keys = keys_.mutable_data();
    T* to_values = values_.mutable_data();
    for (std::size_t b = 0; b < layout.batch(); ++b) {
      for (std::size_t t = 0; t < time; ++t) {
        if (layout.is_padding(b, t)) continue;
        const auto position = static_cast<std::size_t>(layout.position[b * time + t]);
        calm::detail::require(position < capacity(), [&] {
          return "calm::nn::KeyValueCache: text " + std::to_string(b) + " reaches position " +
                 std::to_string(position) + ", the cache holds " + std::to_string(capacity());
        });
        const std::size_t from = (b * time + t) * width, to = (b * capacity() + position) * width;
        kernel::copy(Device{}, width, new_keys.data() + from, to_keys + to);
        kernel::copy(Device{}, width, new_values.data() + from, to_values + to);
      }
    }
  }

 private:
  Rows keys_, values_;
};

}  // namespace calm::nn
