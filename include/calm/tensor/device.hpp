/// \file  Devices are tags; kernels are overloads on them.
#pragma once

namespace calm {

/// The host. Its kernels stand in tensor/cpu/.
struct Cpu {
  static constexpr const char* name = "Cpu";
};

/// An NVIDIA GPU. Declared so that types can name it; no kernel exists for it yet, and using it says so.
struct Cuda {
  static constexpr const char* name = "Cuda";
};

template <class Device>
inline constexpr bool has_kernels = false;
template <>
inline constexpr bool has_kernels<Cpu> = true;

}  // namespace calm
