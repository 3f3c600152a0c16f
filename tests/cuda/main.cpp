#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <iostream>
#include <string>

#include "calm/tensor/cuda/memory.hpp"

int main(int argc, char** argv) {
  if (std::string why; !calm::cuda::available(&why)) {
    std::cout << "skipped: no CUDA device: " << why << '\n';
    return 77;
  }
  const auto device = calm::cuda::device();
  std::cout << "device: " << device.name << ", sm_" << device.major << device.minor << '\n';
  return Catch::Session().run(argc, argv);
}
