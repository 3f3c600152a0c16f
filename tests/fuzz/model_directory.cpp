// A model's directory with a good config.json. What says "weight_map" in its first bytes is the index of a good shard,
// the rest model.safetensors.
#include <cstddef>
#include <string>

#include "calm/io/hugging_face/model_directory.hpp"
#include "calm/nn/transformer.hpp"
#include "fuzz/target.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;

/// Phi-3's kind: fused projections, so that a parameter is a part of a tensor; the head is the embedding.
struct Tiny {
  static constexpr nn::TransformerConfig config{
      .vocab = 3, .hidden = 4, .layers = 1, .heads = 2, .inner = 4, .context = 8};
};

constexpr const char* config_json =
    R"({"model_type": "phi3", "vocab_size": 3, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 4, "max_position_embeddings": 8, "tie_word_embeddings": true})";

/// The weights as tests/fuzz/corpus/model_directory/weights has them, all 0.
std::string good_weights() {
  std::string header = "{", data;
  const auto add = [&](const std::string& name, const std::string& shape, std::size_t size) {
    header.append(header.size() > 1 ? "," : "").append("\"").append(name).append(R"(":{"dtype":"F32","shape":)");
    header.append(shape).append(R"(,"data_offsets":[)").append(std::to_string(data.size())).append(",");
    data.append(4 * size, '\0');
    header.append(std::to_string(data.size())).append("]}");
  };
  const std::string layer = "model.layers.0.";
  add("model.embed_tokens.weight", "[3,4]", 12);
  add(layer + "input_layernorm.weight", "[4]", 4);
  add(layer + "self_attn.qkv_proj.weight", "[12,4]", 48);
  add(layer + "self_attn.o_proj.weight", "[4,4]", 16);
  add(layer + "post_attention_layernorm.weight", "[4]", 4);
  add(layer + "mlp.gate_up_proj.weight", "[8,4]", 32);
  add(layer + "mlp.down_proj.weight", "[4,4]", 16);
  add("model.norm.weight", "[4]", 4);
  return header.append("}\n").append(data);
}

}  // namespace

void calm::fuzz::read(std::string_view contents) {
  static const test::TemporaryFolder indexed, single;
  static const bool is_written = [] {
    test::put_contents(indexed / "config.json", config_json);
    test::put_contents(indexed / "a.safetensors", safetensors(good_weights()));
    test::put_contents(single / "config.json", config_json);
    return true;
  }();
  const bool is_index = is_written && contents.substr(0, 64).find("weight_map") != contents.npos;
  if (is_index) test::put_contents(indexed / "model.safetensors.index.json", contents);
  else test::put_contents(single / "model.safetensors", safetensors(contents));
  const std::string folder = (is_index ? indexed : single) / "";
  nn::Transformer<Tiny, float, Cpu> model;
  io::load(model, folder);
  check(model.embed_tokens.value().size() == 12, "a model that is loaded has its weights");
  nn::Transformer<Tiny, bf16, Cpu, Trainable> copy;
  accepts([&] { io::load(copy, folder); });
}
