// calm_cuda_speed WHAT [MEMORY ARITHMETIC]: prints a line of JSON for each thing that it measures. MEMORY and
// ARITHMETIC are what "ceilings" found, in TB/s and TFLOP/s; shares are counted from them.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <string>

#include "calm/tensor/cuda/memory.hpp"

void measure_ceilings();
void measure_products(double memory);
void measure_sweeps(double memory);
void measure_cross_entropy(double arithmetic);
void measure_attention(double memory, double arithmetic);
void measure_training(std::size_t batch, double arithmetic);
void measure_decoding(double memory);

int main(int argc, char** argv) {
  if (std::string why; !calm::cuda::available(&why)) {
    std::printf("skipped: no CUDA device: %s\n", why.c_str());
    return 77;
  }
  const auto number = [&](int i) { return argc > i ? std::atof(argv[i]) : 0; };
  const double memory = number(2), arithmetic = number(3);
  const std::map<std::string, std::function<void()>> all{
      {"ceilings", [] { measure_ceilings(); }},
      {"products", [=] { measure_products(memory); }},
      {"sweeps", [=] { measure_sweeps(memory); }},
      {"cross_entropy", [=] { measure_cross_entropy(arithmetic); }},
      {"attention", [=] { measure_attention(memory, arithmetic); }},
      {"training1", [=] { measure_training(1, arithmetic); }},
      {"training8", [=] { measure_training(8, arithmetic); }},
      {"decoding", [=] { measure_decoding(memory); }},
  };
  const auto what = all.find(argc > 1 ? argv[1] : "");
  if (what == all.end()) {
    for (const auto& entry : all) std::printf("%s\n", entry.first.c_str());
    return 2;
  }
  try {
    what->second();
  } catch (const std::exception& error) {
    std::printf("{\"name\": \"error in %s\", \"what\": \"%s\"}\n", argv[1], error.what());
    return 1;
  }
}
