#include "tools/convert/mingpt.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/io/hugging_face/model_directory.hpp"
#include "calm/nn/transformer.hpp"
#include "io/temporary_folder.hpp"
#include "text/test_data.hpp"

namespace {

using namespace calm;
using Catch::Contains;

/// What `calm-spec` writes for it.
struct NanoSort {
  static constexpr nn::TransformerConfig config{.vocab = 3,
                                                .hidden = 48,
                                                .layers = 3,
                                                .heads = 3,
                                                .context = 11,
                                                .norm = nn::NormKind::layer,
                                                .mlp = nn::MlpKind::gelu_tanh,
                                                .positions = nn::PositionKind::learned,
                                                .bias = true,
                                                .tied_embeddings = false};
};
using Model = nn::Transformer<NanoSort, float, Cpu>;

/// The activations that are stored beside the model, of three texts.
struct Partials {
  std::string path;
  nlohmann::json json = io::read_json(path);

  template <class X>
  void check(const char* stage, const X& found) const {
    const convert::JsonTensor expected = convert::read_json_tensor(path, json, stage);
    REQUIRE(expected.data.size() == found.size());
    float worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i)
      worst = std::max(worst, std::abs(found[i] - expected.data[i]) / std::max(1.0f, std::abs(expected.data[i])));
    INFO(stage);
    CHECK(worst <= 1e-5f);
  }
};

}  // namespace

TEST_CASE("gpt-nano-sort agrees with its stored activations, stage by stage") {
  const auto weights = test::find_test_data("gpt-nano-sort/gpt-nano-sort-model.json");
  const auto stored = test::find_test_data("gpt-nano-sort/gpt-nano-sort-t0-partials.json");
  if (!weights || !stored) {
    WARN("skipped: no gpt-nano-sort in the folder of test data; set CALM_TEST_DATA");
    return;
  }
  const test::TemporaryFolder folder;
  convert::convert_mingpt(*weights, folder / "gpt-nano-sort");
  Model model;
  io::load(model, folder / "gpt-nano-sort");

  const Partials partials{*stored};
  const auto idx = convert::read_json_tensor(*stored, partials.json, "idx");
  std::vector<Index> ids;
  for (const float id : idx.data) ids.push_back(static_cast<Index>(id));
  const auto tokens = nn::Tokens<Cpu>::from(Shape<Batch, Time>(3, 11), ids.data());
  const std::vector<Index> lengths(3, 11);
  const auto layout = nn::pad_right<Cpu>(lengths, 11);
  const auto& block = model.layers[0];
  const double eps = NanoSort::config.norm_eps;

  const auto x = model.embed(tokens, layout);
  partials.check("x", x);
  const auto ln1 = block.input_layernorm(x, eps);
  partials.check("ln1", ln1);
  const auto attended = block.self_attn(ln1, layout);
  partials.check("yProj", attended);
  const auto h = attended + x;
  partials.check("attnResid", h);
  const auto ln2 = block.post_attention_layernorm(h, eps);
  partials.check("ln2", ln2);
  partials.check("fc", block.mlp.up_proj(ln2));
  partials.check("gelu", gelu_tanh(block.mlp.up_proj(ln2)));
  partials.check("mlp", block.mlp(ln2));
  partials.check("block0", model.run(x, 0, 1, layout));
  partials.check("block1", model.run(x, 0, 2, layout));
  const auto last = model.run(x, 0, 3, layout);
  partials.check("block2", last);
  partials.check("ln_f", model.norm(last, eps));
  partials.check("lm_head", model.head(last));
}

TEST_CASE("tensors that are not as long as they say are refused by name") {
  const test::TemporaryFolder folder;
  const auto check = [&](const std::string& tensor, const std::string& what) {
    test::put_contents(folder / "m.json", "{\"config\": {}, \"transformer.wte.weight\": " + tensor + "}");
    CHECK_THROWS_WITH(convert::convert_mingpt(folder / "m.json", folder / "out"),
                      Contains("'transformer.wte.weight." + what));
  };
  check(R"({"shape": [1, 1], "dtype": "torch.float16", "data": "AAAAAA=="})", "dtype'");
  check(R"({"shape": [2, 1], "dtype": "torch.float32", "data": "AAAAAA=="})", "data': expected base64 of 2");
  check(R"({"shape": [1, 1], "dtype": "torch.float32", "data": "A*AAAA=="})", "data'");
  check(R"({"shape": [7, 7], "dtype": "torch.float32", "data": "AAAAAA=="})", "shape': larger");
  check(R"({"shape": [-1, 7], "dtype": "torch.float32", "data": "AAAAAA=="})", "shape'");
  check(R"({"shape": 3, "dtype": "torch.float32", "data": "AAAAAA=="})", "shape'");
  check(R"({"shape": [1, 1], "dtype": "torch.float32"})", "data': expected text");
}
