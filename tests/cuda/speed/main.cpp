// calm_cuda_speed [kernels|composition]: prints a line of JSON for each thing that it measures.

#include <cuda_runtime.h>

#include <cstdio>
#include <exception>
#include <string>

#include "calm/tensor.hpp"
#include "measure.hpp"

void measure_kernels();
void measure_composition(double memory, double arithmetic);

int main(int argc, char** argv) {
  if (std::string why; !calm::cuda::available(&why)) {
    std::printf("skipped: no CUDA device: %s\n", why.c_str());
    return 77;
  }
  try {
    const std::string what = argc > 1 ? argv[1] : "kernels";
    if (what == "kernels") measure_kernels();
    // Shares are counted from what "kernels" found: pass the two ceilings, in TB/s and TFLOP/s.
    const auto ceiling = [&](int i) { return argc > i ? std::stod(argv[i]) : 0; };
    if (what == "composition") measure_composition(ceiling(2), ceiling(3));
  } catch (const std::exception& error) {
    std::printf("{\"name\": \"error\", \"what\": \"%s\"}\n", error.what());
    return 1;
  }
}
