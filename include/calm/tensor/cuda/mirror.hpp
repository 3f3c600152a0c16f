/// \file  Indices that the host writes, and that kernels read from the device's own memory.
///
/// A block of them is copied when a kernel first reads it, and again when the host has written it since: for whole
/// passes. A step that is recorded makes its copies itself, each time: with a `Mirror`.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "calm/tensor/dtype.hpp"

namespace calm::cuda {

/// While one lives, kernels that this thread launches read these arrays of indices from a copy in device memory in
/// place of the host's, across the bus: for many launches that read the same few. One launch makes the copy, which may
/// be recorded. The host must not write the arrays meanwhile. Of several mirrors the newest counts.
class Mirror {
 public:
  static constexpr std::size_t most = 8;  ///< arrays; what is more, and what is empty, is read where it is

  explicit Mirror(std::span<const std::span<const Index>> arrays);
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;
  ~Mirror();

  /// The copy of the array that begins there; `array` itself if there is none.
  const Index* of(const Index* array) const;

 private:
  std::array<std::span<const Index>, most> arrays_;
  std::size_t size_ = 0;  ///< indices
  Index* copy_;           ///< one array behind the other
  const Mirror* outer_;
};

/// Where a kernel that is launched now reads that array of the host's; null stays null. Where there is no mirror of it
/// and the order of launches allows, that is a copy of its whole block, made when a kernel first reads the block.
const Index* near(const Index* array);

/// A block of memory that host and device share, whose first address this is, was taken, is written by the host, and is
/// given back. Who reads the block on the device must have been waited for before it is written.
void begin_copying(const void* block, std::size_t bytes);
void drop_copy(const void* block);
void end_copying(const void* block) noexcept;

}  // namespace calm::cuda
