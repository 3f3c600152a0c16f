// A stranger's program: the header, an operation, a model whose specification the build wrote, the version.
#include <calm/calm.hpp>
#include <calm/hugging_face.hpp>
#include <iostream>

#include "llama_b.hpp"

struct Hidden {
  static constexpr std::size_t extent = 2;
};

int main() {
  const auto x = calm::Tensor<float, calm::Cpu, calm::Time, Hidden>::from(calm::Shape<calm::Time, Hidden>(1), {1, 2});
  const auto w = calm::Tensor<float, calm::Cpu, Hidden, Hidden>::from({}, {3, 4, 5, 6});
  const auto y = calm::linear(x, w);
  calm::nn::Transformer<TinyLlama, float, calm::Cpu> model;
  calm::io::load(model, MODEL);
  std::cout << "calm " << calm::version << ": " << y[0] << ' ' << y[1] << '\n';
  return y[0] == 11 && y[1] == 17 && model.norm.weight.value().defined() ? 0 : 1;
}
