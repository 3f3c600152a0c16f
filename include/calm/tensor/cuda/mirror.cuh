/// \file  The device's copies of the host's indices.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/kernels.hpp"
#include "calm/tensor/cuda/mirror.hpp"
#include "calm/tensor/cuda/streams.hpp"

namespace calm::cuda {

/// copy = the arrays, one behind the other
struct CopyIndices {
  Index* copy;
  const Index* from[Mirror::most];
  std::size_t size[Mirror::most];
  CALM_KERNEL void operator()(std::size_t i) const {
    std::size_t array = 0, first = 0;
    while (i - first >= size[array]) first += size[array++];
    copy[i] = from[array][i - first];
  }
};

inline thread_local const Mirror* newest_mirror = nullptr;

Mirror::Mirror(std::span<const std::span<const Index>> arrays) : outer_(newest_mirror) {
  std::copy_n(arrays.begin(), std::min(arrays.size(), most), arrays_.begin());
  CopyIndices run{};
  for (std::size_t a = 0; a < most; ++a) {
    run.from[a] = arrays_[a].data();
    run.size[a] = arrays_[a].size();
    size_ += run.size[a];
  }
  run.copy = copy_ = static_cast<Index*>(take(size_ * sizeof(Index)));
  each("mirror", size_, run);
  newest_mirror = this;
}
Mirror::~Mirror() {
  newest_mirror = outer_;
  give(copy_, size_ * sizeof(Index));
}
const Index* Mirror::of(const Index* array) const {
  const Index* copy = copy_;
  for (const auto& a : arrays_) {
    if (a.data() == array && !a.empty()) return copy;
    copy += a.size();
  }
  return array;
}

/// Blocks of memory that the host writes, each with the device's copy of it. Copies are made, read and given back in
/// the order of the main stream alone.
class Copies {
 public:
  static Copies& get() {
    static Copies* const copies = new Copies;
    return *copies;
  }

  void begin(const void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    of_[static_cast<const Index*>(block)] = {nullptr, bytes};
  }
  void drop(const void* block) {
    const std::lock_guard lock(mutex_);
    if (const auto place = of_.find(static_cast<const Index*>(block)); place != of_.end()) drop(place->second);
  }
  void end(const void* block) {
    const std::lock_guard lock(mutex_);
    const auto place = of_.find(static_cast<const Index*>(block));
    if (place == of_.end()) return;
    drop(place->second);
    of_.erase(place);
  }
  const Index* near(const Index* array) {
    const std::lock_guard lock(mutex_);
    const auto place = of_.lower_bound(array);  // the last block that begins at or before it
    if (place == of_.end()) return array;
    Copy& copy = place->second;
    const auto at = static_cast<std::size_t>(array - place->first), size = copy.bytes / sizeof(Index);
    if (at >= size) return array;
    if (copy.data == nullptr) {
      for (const Copy& c : std::exchange(dropped_, {})) give(c.data, c.bytes);
      copy.data = static_cast<Index*>(take(copy.bytes));
      kernel::copy(Cuda{}, size, place->first, copy.data);
    }
    return copy.data + at;
  }

 private:
  struct Copy {
    Index* data;
    std::size_t bytes;
  };
  void drop(Copy& copy) {
    if (copy.data) dropped_.push_back(copy);
    copy.data = nullptr;
  }

  std::mutex mutex_;
  std::map<const Index*, Copy, std::greater<>> of_;
  std::vector<Copy> dropped_;  ///< what was launched may still read it
};

const Index* near(const Index* array) {
  if (array == nullptr) return nullptr;
  const Index* const mirrored = newest_mirror ? newest_mirror->of(array) : array;
  return mirrored == array && in_order() ? Copies::get().near(array) : mirrored;
}
void begin_copying(const void* block, std::size_t bytes) { Copies::get().begin(block, bytes); }
void drop_copy(const void* block) { Copies::get().drop(block); }
void end_copying(const void* block) noexcept { Copies::get().end(block); }

}  // namespace calm::cuda
