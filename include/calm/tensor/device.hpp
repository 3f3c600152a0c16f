/// \file  Devices are tags; kernels are overloads on them.
#pragma once

namespace calm {

/// The host. Its kernels stand in tensor/cpu/.
struct Cpu {
  static constexpr const char* name = "Cpu";
};

/// An NVIDIA GPU. Its kernels come with the CMake target calm::cuda; in a build without them, using it says so.
struct Cuda {
  static constexpr const char* name = "Cuda";
};

/// Whether operations run on `Device` in this program: on `Cuda` where calm::cuda is linked.
template <class Device>
inline constexpr bool has_kernels = false;
template <>
inline constexpr bool has_kernels<Cpu> = true;
#ifdef CALM_CUDA
template <>
inline constexpr bool has_kernels<Cuda> = true;
#endif

/// Where a device keeps memory.
enum class Place : unsigned char {
  device,   ///< with the device alone, if that is not the host
  shared,   ///< where the host reads and writes it too
  lasting,  ///< as `device`, for what is read again and again as long as a program runs: on the host in large pages
};

}  // namespace calm
