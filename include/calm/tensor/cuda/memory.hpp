/// \file  The GPU's memory, and the one stream in whose order everything on it happens.
///
/// The device is the one that is current when it is first used; CUDA_VISIBLE_DEVICES says which that is. All functions
/// are defined by the target calm::cuda; where a call of CUDA fails, they throw an `Error` with its name and the
/// device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace calm::cuda {

/// A GPU. Memory is in bytes.
struct DeviceInfo {
  std::string name;
  int number = 0, major = 0, minor = 0, processors = 0;
  std::size_t memory = 0, free = 0;
};

/// Whether there is a GPU for which this program has kernels; `why_not`, if given, says what is missing.
bool available(std::string* why_not = nullptr);
DeviceInfo device();

/// Device memory, at least one byte, uninitialised; what is given back is taken again in the order of the stream.
void* take(std::size_t bytes);
void give(void* memory, std::size_t bytes) noexcept;
/// Memory of the host that the device reads as well. It is handed out again once all that was launched before it was
/// given back has run.
void* take_shared(std::size_t bytes);
void give_shared(void* memory, std::size_t bytes) noexcept;

/// Bytes of device memory that tensors hold now, and the most that they held.
struct Use {
  std::size_t live = 0, peak = 0;
};
Use use();
void reset_peak();

/// How many kernels and copies were launched by this program.
std::uint64_t launches();
/// Returns when all of them have run.
void synchronize();
/// How often the host has waited so, itself or to read what the device holds.
std::uint64_t waits();

}  // namespace calm::cuda
