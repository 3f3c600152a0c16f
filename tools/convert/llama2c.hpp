/// \file  Checkpoints of karpathy/llama2.c (version 0, float32) as Hugging Face directories.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "calm/io/file.hpp"
#include "tools/convert/rows.hpp"

namespace calm::convert {

/// The seven numbers at the beginning of a file (llama2.c, run.c, struct Config).
struct Llama2cHeader {
  std::int32_t dim, hidden, layers, heads, kv_heads, vocab, context;
};

namespace detail {

inline Llama2cHeader read_llama2c_header(const io::MappedFile& file) {
  Llama2cHeader h{};
  const auto fail = [&](const std::string& what) {
    throw Error("calm-convert: " + file.path() + ": " + what + "; expected a checkpoint of llama2.c, version 0");
  };
  if (file.size() < sizeof h) fail("found " + std::to_string(file.size()) + " bytes");
  std::memcpy(&h, file.data(), sizeof h);
  for (const std::int32_t n : {h.dim, h.hidden, h.layers, h.heads, h.kv_heads, h.context}) {
    if (n <= 0 || n > 1 << 20) fail("found the number " + std::to_string(n) + " in its header");
  }
  if (h.vocab == 0 || h.vocab > 1 << 20 || h.vocab < -(1 << 20)) fail("found a vocabulary of no size");
  if (h.dim % h.heads != 0 || h.dim / h.heads % 2 != 0 || h.heads % h.kv_heads != 0)
    fail("found heads that do not divide its width");
  return h;
}

inline std::string llama_config(const Llama2cHeader& h, bool tied) {
  const auto n = [](std::int32_t x) { return std::to_string(x); };
  std::string json = "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\",\n";
  json.append("  \"vocab_size\": ").append(n(std::abs(h.vocab))).append(",\n  \"hidden_size\": ").append(n(h.dim));
  json.append(",\n  \"intermediate_size\": ").append(n(h.hidden));
  json.append(",\n  \"num_hidden_layers\": ").append(n(h.layers));
  json.append(",\n  \"num_attention_heads\": ").append(n(h.heads));
  json.append(",\n  \"num_key_value_heads\": ").append(n(h.kv_heads));
  json.append(",\n  \"max_position_embeddings\": ").append(n(h.context));
  json.append(",\n  \"rms_norm_eps\": 1e-05,\n  \"rope_theta\": 10000.0,\n  \"hidden_act\": \"silu\",\n");
  json.append("  \"tie_word_embeddings\": ").append(tied ? "true" : "false");
  return json.append(",\n  \"bos_token_id\": 1,\n  \"eos_token_id\": 2,\n  \"torch_dtype\": \"float32\"\n}\n");
}

/// Hands out the numbers of a file one stretch after the other.
struct Numbers {
  const float* next;
  const float* take(std::size_t n) { return std::exchange(next, next + n); }
};

}  // namespace detail

/// Writes config.json and model.safetensors for the checkpoint `from` into `directory`, which is made. llama2.c turns
/// neighbours of a head together, Hugging Face's Llama turns halves: rows of queries and keys change places. Throws
/// `Error`.
inline void convert_llama2c(const std::string& from, const std::string& directory) {
  const io::MappedFile file = io::MappedFile::open(from);
  const Llama2cHeader h = detail::read_llama2c_header(file);
  const auto size = [](std::int32_t n) { return static_cast<std::size_t>(std::abs(n)); };
  const std::size_t dim = size(h.dim), hidden = size(h.hidden), layers = size(h.layers), vocab = size(h.vocab);
  const std::size_t head = dim / size(h.heads), keys = head * size(h.kv_heads), context = size(h.context);
  const bool tied = h.vocab > 0;
  const std::size_t layer = 2 * dim + 2 * dim * dim + 2 * keys * dim + 3 * hidden * dim;
  const std::size_t numbers = vocab * dim * (tied ? 1 : 2) + layers * layer + dim + context * head;
  if (file.size() != sizeof h + 4 * numbers) {
    throw Error("calm-convert: " + from + ": expected " + std::to_string(sizeof h + 4 * numbers) +
                " bytes by its header, found " + std::to_string(file.size()) +
                "; it was cut off or is of another version");
  }
  detail::Numbers source{reinterpret_cast<const float*>(file.data() + sizeof h)};
  io::SafetensorsWriter writer;
  const auto name = [](std::size_t i, const char* what) { return "model.layers." + std::to_string(i) + '.' + what; };
  const auto halves = [&](std::size_t r) {
    const std::size_t half = head / 2, first = r / head * head;
    return first + 2 * (r % half) + r % head / half;
  };
  const auto each_vector = [&](const char* what) {
    for (std::size_t i = 0; i < layers; ++i) add_vector(writer, name(i, what), source.take(dim), dim);
  };
  const auto each = [&](const char* what, std::size_t rows, std::size_t columns, auto order) {
    for (std::size_t i = 0; i < layers; ++i)
      add_rows(writer, name(i, what), source.take(rows * columns), rows, columns, order);
  };
  const auto as_is = [](std::size_t r) { return r; };
  add_rows(writer, "model.embed_tokens.weight", source.take(vocab * dim), vocab, dim);
  each_vector("input_layernorm.weight");
  each("self_attn.q_proj.weight", dim, dim, halves);
  each("self_attn.k_proj.weight", keys, dim, halves);
  each("self_attn.v_proj.weight", keys, dim, as_is);
  each("self_attn.o_proj.weight", dim, dim, as_is);
  each_vector("post_attention_layernorm.weight");
  each("mlp.gate_proj.weight", hidden, dim, as_is);
  each("mlp.down_proj.weight", dim, hidden, as_is);
  each("mlp.up_proj.weight", hidden, dim, as_is);
  add_vector(writer, "model.norm.weight", source.take(dim), dim);
  source.take(context * head);  // cosines and sines
  if (!tied) add_rows(writer, "lm_head.weight", source.take(vocab * dim), vocab, dim);
  std::filesystem::create_directories(directory);
  writer.save(directory + "/model.safetensors");
  io::write_file_atomically(directory + "/config.json", detail::llama_config(h, tied));
}

}  // namespace calm::convert
