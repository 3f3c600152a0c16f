#include "calm/io/hugging_face/model_directory.hpp"

#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/nn/transformer.hpp"
#include "hugging_face/family_specs.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;
namespace fs = std::filesystem;

struct Tied {
  static constexpr nn::TransformerConfig config = [] {
    auto c = LlamaA::config;
    c.tied_embeddings = true;
    return c;
  }();
};
using Llama = nn::Transformer<LlamaA, float, Cpu>;
using Phi3 = nn::Transformer<Phi3B, float, Cpu>;

std::string fixture(const std::string& folder) { return CALM_FIXTURES "/families/" + folder; }

/// A copy of a fixture's folder, to be spoilt.
struct Copy {
  TemporaryFolder folder;
  std::string path = folder / "model";

  explicit Copy(const std::string& name) { fs::copy(fixture(name), path); }
  std::string operator/(const std::string& file) const { return path + "/" + file; }
};


void check_refused(const std::string& directory, const std::string& what, const std::string& more = "") {
  Llama model;
  CHECK_THROWS_WITH(io::load(model, directory), Contains(what) && Contains(more));
  nn::for_each_parameter(model, [](const std::string& path, auto& p) {
    INFO(path);
    CHECK(!p.value().defined());  // nothing was changed
  });
}

/// Replaces `from` by `to`, as long, in the header of the copy's weights.
void patch(const Copy& copy, const std::string& from, const std::string& to) {
  std::string bytes = contents_of(copy / "model.safetensors");
  REQUIRE(from.size() == to.size());
  const std::size_t at = bytes.find(from);
  REQUIRE(at != std::string::npos);
  bytes.replace(at, from.size(), to);
  put_contents(copy / "model.safetensors", bytes);
}

template <class M>
std::vector<float> first_layer(M& model) {
  std::vector<float> all;
  nn::for_each_parameter(model, [&](const std::string& path, auto& p) {
    if (path.starts_with("layers.0.")) all.insert(all.end(), p.value().data(), p.value().data() + p.value().size());
  });
  return all;
}

}  // namespace

TEST_CASE("weights of the wanted type are used where they lie, others are converted") {
  Llama model;
  io::load(model, fixture("llama-a"));
  const auto file = io::SafetensorsFile::open(fixture("llama-a") + "/model.safetensors");
  CHECK(std::memcmp(model.embed_tokens.value().data(), file.data("model.embed_tokens.weight"), 29 * 16 * 4) == 0);
  nn::Transformer<LlamaA, bf16, Cpu> half;
  io::load(half, fixture("llama-a"));
  CHECK(static_cast<float>(half.embed_tokens.value()[5]) == Approx(model.embed_tokens.value()[5]).epsilon(0.005));
  CHECK(!model.embed_tokens.value().storage().unique());  // the mapping's
  CHECK(half.embed_tokens.value().storage().unique());
}

TEST_CASE("a prefix reads its own layers, and files without any are not even opened") {
  Phi3 whole;
  io::load(whole, fixture("phi3-b"));
  const Copy copy("phi3-b");
  // Only the last of the shards holds the second layer alone.
  const auto index = io::read_json(copy / "model.safetensors.index.json")["weight_map"];
  std::set<std::string> needed, all;
  for (const auto& [name, file] : index.items()) {
    all.insert(file.get<std::string>());
    if (name.find("layers.1.") == std::string::npos && name != "model.norm.weight")
      needed.insert(file.get<std::string>());
  }
  REQUIRE(needed.size() < all.size());
  for (const std::string& file : all) {
    if (!needed.contains(file)) fs::remove(copy / file);
  }
  Phi3::Prefix<1> prefix;
  io::load(prefix, copy.path);
  CHECK(first_layer(prefix) == first_layer(whole));
  Phi3 incomplete;
  CHECK_THROWS_WITH(io::load(incomplete, copy.path), Contains("cannot open"));
}

TEST_CASE("low-rank corrections stay as they are when the weights below them are loaded") {
  nn::Transformer<LlamaA, float, Cpu, nn::LowRank<2>> model;
  io::load(model, fixture("llama-a"));
  Llama plain;
  io::load(plain, fixture("llama-a"));
  CHECK(model.layers[1].self_attn.q_proj.weight.value()[7] == plain.layers[1].self_attn.q_proj.weight.value()[7]);
  nn::for_each_trainable(model, [](const std::string&, auto& p) { CHECK(!p.value().defined()); });
}

TEST_CASE("a directory that is not the specification names each field that differs") {
  const Copy copy("llama-a");
  std::string config = contents_of(copy / "config.json");
  config.replace(config.find("\"num_key_value_heads\": 2"), 24, "\"num_key_value_heads\": 4");
  put_contents(copy / "config.json", config);
  check_refused(copy.path, "kv_heads: expected 2, found 4", "calm-spec");
  check_refused(fixture("llama-b"), "\n  head_width: expected 4, found 6", "\n  hidden: expected 16, found 12");
}

TEST_CASE("missing, extra, mis-shaped and mis-typed tensors are named") {
  {
    const Copy copy("llama-a");
    patch(copy, "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.XX_proj.weight");
    check_refused(copy.path, "expected a tensor 'model.layers.1.mlp.up_proj.weight'", "found none");
  }
  {
    const Copy copy("llama-a");
    patch(copy, "[16,24]", "[24,16]");
    check_refused(copy.path, "down_proj.weight': expected shape [16, 24]", "found [24, 16]");
  }
  {
    const Copy copy("llama-a");
    patch(copy, "\"dtype\":\"F32\"", "\"dtype\":\"I32\"");
    check_refused(copy.path, "expected shape", "in I32");
  }
  {
    // The head of a model with tied embeddings must be the embedding.
    const Copy copy("llama-a");
    std::string config = contents_of(copy / "config.json");
    config.replace(config.find("\"tie_word_embeddings\": false"), 28, "\"tie_word_embeddings\": true ");
    put_contents(copy / "config.json", config);
    nn::Transformer<Tied, float, Cpu> model;
    CHECK_THROWS_WITH(io::load(model, copy.path), Contains("'lm_head.weight' has no place"));
  }
}

TEST_CASE("an index names plain files beside it") {
  const auto with_shard = [](const std::string& shard) {
    const Copy copy("llama-a");
    fs::rename(copy / "model.safetensors", copy / "a.safetensors");
    put_contents(copy / "model.safetensors.index.json",
                 "{\"weight_map\": {\"model.embed_tokens.weight\": \"" + shard + "\"}}");
    check_refused(copy.path, "model.safetensors.index.json");
    Llama model;
    CHECK_THROWS_WITH(io::load(model, copy.path), Contains("plain name of a .safetensors file"));
  };
  for (const char* shard : {"../a.safetensors", "/etc/a.safetensors", "x/a.safetensors", "..", ".a.safetensors", "",
                            "a.bin", "x\\\\a.safetensors", "a\\u0000.safetensors"})
    with_shard(shard);
  const Copy copy("llama-a");
  fs::remove(copy / "model.safetensors");
  for (const char* text : {"{}", "[]", "{\"weight_map\": []}"}) {
    put_contents(copy / "model.safetensors.index.json", text);
    check_refused(copy.path, "expected an object \"weight_map\"");
  }
}

TEST_CASE("pickles are refused with the command that converts them, and so is an empty folder") {
  const Copy copy("llama-a");
  fs::remove(copy / "model.safetensors");
  check_refused(copy.path, "found neither");
  put_contents(copy / "pytorch_model.bin", "\x80\x02");
  check_refused(copy.path, "'pytorch_model.bin', a pickle", "save_pretrained(");
}
