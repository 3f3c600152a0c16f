// Writes files for numpy_reads_what_calm_writes.py into the folder that it is given: a tensor of each element type,
// whose numbers the script knows, and a folder of bridges with the digests of its two models.
#include <cstddef>
#include <filesystem>
#include <string>

#include "calm/compose/bridge_directory.hpp"
#include "calm/compose/compose.hpp"
#include "calm/io/safetensors.hpp"
#include "calm/nn/initialise.hpp"

namespace {

using namespace calm;

struct Rows {
  static constexpr std::size_t extent = 3;
};
struct Columns {
  static constexpr std::size_t extent = 5;
};
struct Anchor {
  static constexpr nn::TransformerConfig config{.vocab = 8, .hidden = 8, .layers = 2, .heads = 2, .context = 4};
};
struct Augment {
  static constexpr nn::TransformerConfig config{.vocab = 8, .hidden = 4, .layers = 1, .heads = 1, .context = 4};
};

/// Element i is i / 4 - 1, or i - 4 for whole numbers: exact in every type.
template <class T>
void add(io::SafetensorsWriter& writer, const std::string& name) {
  Tensor<T, Cpu, Rows, Columns> x{{}};
  for (std::size_t i = 0; i < x.size(); ++i) {
    if constexpr (std::is_integral_v<T>) x.mutable_data()[i] = static_cast<T>(static_cast<int>(i) - 4);
    else x.mutable_data()[i] = static_cast<T>(static_cast<float>(i) / 4 - 1);
  }
  writer.add(name, x);
}

}  // namespace

int main(int, char** argv) {
  const std::string folder = argv[1];
  std::filesystem::create_directories(folder);
  io::SafetensorsWriter writer;
  add<float>(writer, "F32");
  add<double>(writer, "F64");
  add<f16>(writer, "F16");
  add<bf16>(writer, "BF16");
  add<Index>(writer, "I32");
  writer.set_metadata("text", "caf\u00e9 \"quoted\"\n");
  writer.add_digest();
  writer.save(folder + "/types.safetensors");

  Compose<nn::Transformer<Anchor, float, Cpu>, nn::Transformer<Augment, float, Cpu>, LayerMap<Link<0, 1>>> model;
  nn::initialise(model.anchor, {.seed = 1});
  nn::initialise(model.augment, {.seed = 2});
  model.initialise_bridges(3);
  save_bridge_directory(model, folder + "/bridge", {.anchor = "us/anchor", .augment = "us/augment", .about = "Sums."});
}
