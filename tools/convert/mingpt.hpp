/// \file  Models of karpathy/minGPT in JSON (as in bbycroft/llm-viz) as Hugging Face directories.
#pragma once

#include <openssl/evp.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/io/json_file.hpp"
#include "tools/convert/rows.hpp"

namespace calm::convert {

/// A tensor of such a file: base64 of little-endian float32.
struct JsonTensor {
  std::vector<std::size_t> shape;
  std::vector<float> data;
};

/// The tensor `key` of `json`, the contents of `path`. Throws `Error`.
inline JsonTensor read_json_tensor(const std::string& path, const nlohmann::json& json, const std::string& key) {
  io::JsonFields fields = io::JsonFields(path, json).object(key);
  fields.one_of("dtype", {"torch.float32"});
  const std::string text = fields.text("data");
  JsonTensor t;
  std::size_t n = 1;
  const nlohmann::json* shape = fields.find("shape");
  if (shape == nullptr || !shape->is_array()) fields.fail("shape", "expected a list");
  for (const auto& extent : *shape) {
    if (!extent.is_number_unsigned() || extent > text.size())
      fields.fail("shape", "expected whole numbers, none larger than the data");
    t.shape.push_back(extent.get<std::size_t>());
    if (!io::detail::checked_multiply(n, t.shape.back(), n) || n > text.size())
      fields.fail("shape", "larger than its data");
  }
  std::vector<unsigned char> bytes(text.size() / 4 * 3 + 3);
  const int length = EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (length < 0 || static_cast<std::size_t>(length) / 4 < n || static_cast<std::size_t>(length) > 4 * n + 2)
    fields.fail("data", "expected base64 of " + std::to_string(n) + " float32 numbers");
  t.data.resize(n);
  std::memcpy(t.data.data(), bytes.data(), 4 * n);
  return t;
}

/// Writes config.json and model.safetensors for the model `from` into `directory`, which is made. minGPT stores linear
/// weights as [out, in], Hugging Face's GPT-2 as [in, out]. Throws `Error`.
inline void convert_mingpt(const std::string& from, const std::string& directory) {
  const nlohmann::json json = io::read_json(from);
  io::JsonFields config = io::JsonFields(from, json).object("config");
  io::SafetensorsWriter writer;
  for (const auto& [key, value] : json.items()) {
    if (key == "config" || key.ends_with(".attn.bias")) continue;  // the mask
    const JsonTensor t = read_json_tensor(from, json, key);
    const bool linear = key.find(".c_") != std::string::npos && t.shape.size() == 2;
    if (t.shape.size() == 1)
      add_vector(writer, key, t.data.data(), t.shape[0]);
    else if (t.shape.size() != 2)
      throw Error("calm-convert: " + from + ": tensor " + key + ": expected one axis or two");
    else if (linear)
      add_transposed(writer, key, t.data.data(), t.shape[0], t.shape[1]);
    else
      add_rows(writer, key, t.data.data(), t.shape[0], t.shape[1]);
  }
  const nlohmann::json gpt2{{"architectures", {"GPT2LMHeadModel"}},
                            {"model_type", "gpt2"},
                            {"vocab_size", config.count("vocab_size")},
                            {"n_embd", config.count("n_embd")},
                            {"n_layer", config.count("n_layer")},
                            {"n_head", config.count("n_head")},
                            {"n_positions", config.count("block_size")},
                            {"activation_function", "gelu_new"},
                            {"layer_norm_epsilon", 1e-5},
                            {"bos_token_id", nullptr},
                            {"eos_token_id", nullptr},
                            {"tie_word_embeddings", false}};
  std::filesystem::create_directories(directory);
  writer.save(directory + "/model.safetensors");
  io::write_file_atomically(directory + "/config.json", gpt2.dump(2) + "\n");
}

}  // namespace calm::convert
