/// \file  Reference-counted memory of a device.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

#include "calm/tensor/cpu_pool.hpp"
#include "calm/tensor/device.hpp"
#ifdef CALM_CUDA
#include "calm/tensor/cuda/kernels.hpp"  // for all who call kernels by the device
#include "calm/tensor/cuda/memory.hpp"
#include "calm/tensor/cuda/mirror.hpp"
#endif

namespace calm {

namespace detail {

inline BlockHeader* take_block(Cpu, std::size_t bytes, Place place) {
  return CpuPool::instance().take(bytes, place == Place::lasting);
}
inline void wait_for_readers(Cpu, BlockHeader*) {}

#ifdef CALM_CUDA
/// The header stays on the host.
inline BlockHeader* take_block(Cuda, std::size_t bytes, Place place) {
  BlockHeader* block = CpuPool::instance().take(sizeof(std::size_t));
  auto* const size = reinterpret_cast<std::size_t*>(block + 1);
  *size = bytes;
  const auto give_header = [](BlockHeader* b) {
    b->external = nullptr;
    b->release = [](BlockHeader* header) { CpuPool::instance().give(header); };
    b->release(b);
  };
  try {
    block->external = place == Place::shared ? cuda::take_shared(bytes) : cuda::take(bytes);
  } catch (...) {
    give_header(block);
    throw;
  }
  block->stamp = cuda::launches();
  if (place == Place::shared) {
    cuda::begin_copying(block->external, bytes);
    block->release = [](BlockHeader* b) {
      cuda::end_copying(b->external);
      cuda::give_shared(b->external, *reinterpret_cast<std::size_t*>(b + 1));
      decltype(give_header)()(b);
    };
  } else {
    block->release = [](BlockHeader* b) {
      cuda::give(b->external, *reinterpret_cast<std::size_t*>(b + 1));
      decltype(give_header)()(b);
    };
  }
  return block;
}
/// Kernels that were launched since the block was last written may still read it.
inline void wait_for_readers(Cuda, BlockHeader* block) {
  if (block->stamp == cuda::launches()) return;
  cuda::synchronize();
  cuda::drop_copy(block->external);
  block->stamp = cuda::launches();
}
#endif

}  // namespace detail

/// A shared handle on a block of device memory; copying it shares the block.
template <class Device>
class Storage {
  static_assert(has_kernels<Device>,
                "calm::Storage: this device has no kernels in this build; use calm::Cpu, or link calm::cuda");

 public:
  Storage() = default;
  explicit Storage(std::size_t bytes, Place place = Place::device)
      : block_(detail::take_block(Device{}, bytes, place)) {}
  Storage(const Storage& other) : block_(other.block_) {
    if (block_) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Storage(Storage&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Storage& operator=(Storage other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Storage() { drop(); }

  /// Wraps memory that somebody else owns (a mapped file); `release(context)` runs when the last handle is gone.
  template <void (*Release)(void*)>
  static Storage external(void* data, void* context) {
    Storage s;
    s.block_ = new detail::BlockHeader;
    s.block_->external = data;
    s.block_->read_only = true;
    s.block_->context = context;
    s.block_->release = [](detail::BlockHeader* b) {
      Release(b->context);
      delete b;
    };
    return s;
  }

  void* data() const {
    if (block_ == nullptr) return nullptr;
    return block_->external ? block_->external : static_cast<void*>(block_ + 1);
  }
  /// Whether this handle alone may write the block: nobody else holds it, and it is not a mapped file.
  bool unique() const {
    return block_ && !block_->read_only && block_->references.load(std::memory_order_acquire) == 1;
  }
  /// Returns when no kernel reads the block any more; for the host, before it writes memory that a device reads.
  void wait_for_readers() const {
    if (block_) detail::wait_for_readers(Device{}, block_);
  }
  explicit operator bool() const { return block_ != nullptr; }

 private:
  void drop() {
    if (block_ && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) block_->release(block_);
  }

  detail::BlockHeader* block_ = nullptr;
};

}  // namespace calm
