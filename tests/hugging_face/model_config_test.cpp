#include "calm/io/hugging_face/model_config.hpp"

#include <string>
#include <string_view>
#include <utility>

#include <catch2/catch.hpp>

#include "calm/io/hugging_face/config_fields.hpp"
#include "hugging_face/family_specs.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using nlohmann::json;

std::string fixture(const std::string& folder, const std::string& file = "config.json") {
  return CALM_FIXTURES "/families/" + folder + "/" + file;
}

template <class Spec>
void check_spellings(const std::string& folder) {
  for (const char* file : {"config.json", "config.v4.json"}) {
    INFO(folder << ", " << file);
    CHECK(io::spec_source("S", io::read_model_config(fixture(folder, file)).config) ==
          io::spec_source("S", Spec::config));
  }
}

/// The config.json of `folder` with changes merged in.
nn::TransformerConfig changed(const std::string& folder, const json& changes, const char* file = "config.json") {
  json config = json::parse(contents_of(fixture(folder, file)));
  for (const auto& [key, value] : changes.items()) config[key] = value;
  const TemporaryFolder temporary;
  put_contents(temporary / "config.json", config.dump());
  return io::read_model_config(temporary / "config.json").config;
}

void check_refused(const std::string& folder, const json& changes, const std::string& field, const std::string& what) {
  INFO(changes.dump());
  CHECK_THROWS_WITH(changed(folder, changes), Contains("config.json: '" + field + "'") && Contains(what));
}

}  // namespace

TEST_CASE("both spellings give the specification that is compiled, as calm-spec writes it") {
  check_spellings<Gpt2A>("gpt2-a");
  check_spellings<Gpt2B>("gpt2-b");
  check_spellings<LlamaA>("llama-a");
  check_spellings<LlamaB>("llama-b");
  check_spellings<MistralA>("mistral-a");
  check_spellings<MistralB>("mistral-b");
  check_spellings<Qwen2A>("qwen2-a");
  check_spellings<Qwen2B>("qwen2-b");
  check_spellings<Qwen3A>("qwen3-a");
  check_spellings<Qwen3B>("qwen3-b");
  check_spellings<Qwen3C>("qwen3-c");
  check_spellings<GemmaA>("gemma-a");
  check_spellings<GemmaB>("gemma-b");
  check_spellings<Gemma2A>("gemma2-a");
  check_spellings<Gemma2B>("gemma2-b");
  check_spellings<Gemma3TextA>("gemma3_text-a");
  check_spellings<Gemma3TextB>("gemma3_text-b");
  check_spellings<Phi3A>("phi3-a");
  check_spellings<Phi3B>("phi3-b");
  check_spellings<Phi3C>("phi3-c");
}

TEST_CASE("what is absent means what it means in transformers") {
  CHECK(changed("mistral-a", {{"sliding_window", nullptr}}).window == 0);
  json mistral = json::parse(contents_of(fixture("mistral-a")));
  mistral.erase("sliding_window");
  const TemporaryFolder folder;
  put_contents(folder / "config.json", mistral.dump());
  CHECK(io::read_model_config(folder / "config.json").config.window == 4096);
  CHECK(changed("gemma2-a", {{"attn_logit_softcapping", nullptr}}).attention_softcap == 0);
  CHECK(changed("llama-a", {{"num_key_value_heads", nullptr}}).key_heads() == 4);
  CHECK(changed("gpt2-a", {{"n_inner", nullptr}}).inner_width() == 48);
  CHECK(changed("qwen3-a", {{"head_dim", nullptr}}).width_of_head() == 128);
  const json yarn{{"rope_type", "yarn"}, {"factor", 4.0}};
  CHECK(changed("qwen3-c", {{"rope_parameters", yarn}}).rope_original_context == 72);  // the context
  CHECK(changed("qwen3-c", {{"rope_parameters", yarn}, {"original_max_position_embeddings", 9}})
            .rope_original_context == 9);
  CHECK(changed("phi3-b", {{"rope_parameters", {{"rope_theta", 9.0}}}, {"partial_rotary_factor", 0.25}})
            .rotary_width == 2);
  CHECK(changed("gemma3_text-a", {{"sliding_window_pattern", nullptr}}, "config.v4.json").window == 5);
}

TEST_CASE("local blocks by a list: all, the first, all but each n-th, or refused") {
  const char *near = "sliding_attention", *far = "full_attention";
  const json window{{"use_sliding_window", true}, {"sliding_window", 7}, {"num_hidden_layers", 4}};
  const auto with = [&](json types) {
    json changes = window;
    changes["layer_types"] = std::move(types);
    return changed("qwen3-a", changes);
  };
  CHECK(with({near, near, near, near}).global_every == 0);
  CHECK(with({near, near, near, near}).window == 7);
  CHECK(with({near, near, far, far}).local_layers == 2);
  CHECK(with({near, far, near, far}).global_every == 2);
  CHECK(with({far, far, far, far}).window == 0);
  CHECK_THROWS_WITH(with({far, far, near, near}), Contains("'layer_types'"));
  CHECK_THROWS_WITH(with({near, far, near}), Contains("'layer_types'") && Contains("4 entries"));
  CHECK_THROWS_WITH(with({near, far, near, "chunked_attention"}), Contains("chunked_attention"));
}

TEST_CASE("what calm does not know is refused by name") {
  check_refused("llama-a", {{"model_type", "mamba"}}, "model_type", "expected one of gpt2, llama");
  check_refused("llama-a", {{"model_type", 3}}, "model_type", "expected text");
  check_refused("llama-a", {{"quantization_config", {{"quant_method", "gptq"}}}}, "quantization_config", "quantised");
  check_refused("llama-a", {{"auto_map", {{"AutoModel", "m.M"}}}}, "auto_map", "code of its own");
  check_refused("llama-a", {{"rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 1e4}}}},
                "rope_parameters.factor", "found nothing");
  check_refused("qwen3-c", {{"rope_parameters", {{"rope_type", "yarn"}, {"factor", 2.0}, {"truncate", false}}}},
                "rope_parameters.truncate", "expected true");
  check_refused("llama-a", {{"rope_parameters", nullptr}, {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}},
                "rope_scaling.type", "'dynamic'");
  check_refused("llama-b", {{"rope_parameters", {{"rope_type", "llama3"}, {"factor", 2.0}}}},
                "rope_parameters.low_freq_factor", "found nothing");
  check_refused("llama-a", {{"hidden_act", "relu"}}, "hidden_act", "expected silu");
  check_refused("llama-a", {{"attention_bias", true}}, "mlp_bias", "the same as attention_bias");
  check_refused("gpt2-a", {{"activation_function", "relu"}}, "activation_function", "gelu_new");
  check_refused("gpt2-a", {{"scale_attn_by_inverse_layer_idx", true}}, "scale_attn_by_inverse_layer_idx", "false");
  check_refused("gemma3_text-a", {{"use_bidirectional_attention", true}}, "use_bidirectional_attention", "false");
  check_refused("llama-a", {{"attention_multiplier", 0.5}}, "attention_multiplier", "an unknown field");
  check_refused("llama-a", {{"rope_interleaved", true}}, "rope_interleaved", "expected false");
  CHECK_NOTHROW(changed("qwen2-a", {{"use_mrope", false}, {"rope_interleaved", false}, {"is_llama_config", true}}));
  CHECK_NOTHROW(changed("gemma2-a", {{"sliding_window_size", 5}, {"cache_implementation", "hybrid"}}));
  check_refused("phi3-a", {{"rope_parameters", {{"rope_type", "longrope"}, {"long_factor", json::array()}}}},
                "rope_parameters.long_factor", "expected a list of 2 numbers");
  const json su{{"type", "su"}, {"long_factor", {1.0, 0.0}}};
  check_refused("phi3-a", {{"rope_scaling", su}, {"rope_parameters", nullptr}}, "rope_scaling.long_factor",
                "expected numbers above 0");
}

TEST_CASE("numbers that make no model are refused by name") {
  check_refused("llama-a", {{"hidden_size", -16}}, "hidden_size", "whole number");
  check_refused("llama-a", {{"hidden_size", 16.5}}, "hidden_size", "whole number");
  check_refused("llama-a", {{"hidden_size", 18446744073709551615u}}, "hidden_size", "whole number");
  check_refused("llama-a", {{"vocab_size", nullptr}}, "vocab_size", "found nothing");
  check_refused("llama-a", {{"vocab_size", 0}}, "vocab_size", "at least 1");
  check_refused("llama-a", {{"num_attention_heads", 0}}, "num_attention_heads", "at least 1");
  check_refused("llama-a", {{"num_attention_heads", 5}, {"num_key_value_heads", 5}, {"head_dim", nullptr}},
                "num_attention_heads", "does not divide");
  check_refused("llama-a", {{"num_key_value_heads", 3}}, "num_attention_heads", "does not divide");
  check_refused("llama-a", {{"head_dim", 5}}, "head_dim", "even");
  check_refused("llama-a", {{"num_hidden_layers", 2000000}}, "num_hidden_layers", "1 to 1024");
  check_refused("llama-a", {{"rms_norm_eps", "1e-6"}}, "rms_norm_eps", "a number above 0");
  check_refused("phi3-b", {{"rope_parameters", {{"rope_theta", 1.0}, {"partial_rotary_factor", 2.0}}}},
                "rope_parameters.partial_rotary_factor", "at most 1");
}

TEST_CASE("JSON that is none, repeats a key or nests too deeply is refused") {
  const TemporaryFolder folder;
  const auto check = [&](std::string_view text, const std::string& what) {
    put_contents(folder / "config.json", text);
    CHECK_THROWS_WITH(io::read_model_config(folder / "config.json"), Contains("config.json") && Contains(what));
  };
  check("", "not valid JSON");
  check("[]", "expected an object, found array");
  check("{\"model_type\": \"llama\", \"model_type\": \"gpt2\"}", "'model_type' stands twice");
  check("{\"model_type\": \"llama\"", "not valid JSON");
  check(std::string(1000, '[') + std::string(1000, ']'), "at most 64 deep");
  check("{\"model_type\": \"\xff\"}", "not valid JSON");
  CHECK_THROWS_WITH(io::read_model_config(folder / "none.json"), Contains("none.json: cannot open"));
}

TEST_CASE("each field that differs is named, other words for the same model are none") {
  nn::TransformerConfig other = LlamaA::config;
  CHECK(io::differences(LlamaA::config, other).empty());
  other.head_width = 4;
  CHECK(io::differences(LlamaA::config, other).empty());
  other.hidden = 32;
  other.norm = nn::NormKind::layer;
  other.norm_eps = 1e-5;
  CHECK(io::differences(LlamaA::config, other) ==
        "\n  hidden: expected 16, found 32\n  norm: expected calm::nn::NormKind::rms, found calm::nn::NormKind::layer"
        "\n  norm_eps: expected 1e-06, found 1e-05");
}
