// A device without kernels is named in the message, not found out at link time.
// error: calm::Storage: this device has no kernels in this build
#include "calm/tensor/tensor.hpp"

struct Hidden {
  static constexpr std::size_t extent = 4;
};

#ifdef CALM_MUST_NOT_COMPILE
using Device = calm::Cuda;
#else
using Device = calm::Cpu;
#endif

int main() { const calm::Tensor<float, Device, Hidden> x; }
