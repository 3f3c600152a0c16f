#include "calm/compose/bridge_directory.hpp"

#include <string>

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;

using Model = Small<float>;

}  // namespace

TEST_CASE("bridges come back from their folder, bit for bit") {
  const TemporaryFolder folder;
  const auto saved = make_small<Model>(true);
  save_bridge_directory(*saved, folder / "bridge", {.anchor = "us/anchor", .augment = "us/augment", .about = "Sums."});
  const auto loaded = make_small<Model>(false);
  nn::initialise_trainable(*loaded, {.seed = 99, .deviation = 0.3});
  REQUIRE(io::weights_sha256(*loaded) != io::weights_sha256(*saved));
  load_bridge_directory(*loaded, folder / "bridge");
  CHECK(io::weights_sha256(*loaded) == io::weights_sha256(*saved));
}

TEST_CASE("the folder says which models, links and options") {
  const TemporaryFolder folder;
  const auto saved = make_small<Model>(true);
  save_bridge_directory(*saved, folder / "bridge", {.anchor = "us/anchor", .augment = "us/\"augment\""});
  const auto json = io::read_json(folder / "bridge/adapter_config.json");
  CHECK(json["peft_type"] == "CALM");
  CHECK(json["base_model_name_or_path"] == "us/anchor");
  CHECK(json["augment_model_name_or_path"] == "us/\"augment\"");
  const auto metadata = io::SafetensorsFile::open(folder / "bridge/adapter_model.safetensors").metadata();
  CHECK(json["composition"]["links"] == metadata.at("calm.links"));
  CHECK(json["composition"]["anchor.sha256"] == io::weights_sha256(saved->anchor));
  const std::string card = contents_of(folder / "bridge/README.md");
  CHECK_THAT(card, Contains("base_model: \"us/anchor\"\n"));
  CHECK_THAT(card, Contains(std::to_string(Model::trainable_parameters) + " parameters"));
  CHECK_THAT(card, Contains("| links | `" + metadata.at("calm.links") + "` |"));
}

TEST_CASE("adapters of another kind are refused") {
  const TemporaryFolder folder;
  const auto m = make_small<Model>(true);
  save_bridge_directory(*m, folder / "bridge");
  const std::string path = folder / "bridge/adapter_config.json";
  put_contents(path, R"({"peft_type": "LORA", "r": 8})");
  CHECK_THROWS_WITH(load_bridge_directory(*m, folder / "bridge"), Contains("'peft_type'") && Contains("'LORA'"));
  put_contents(path, "[]");
  CHECK_THROWS_WITH(load_bridge_directory(*m, folder / "bridge"), Contains("expected an object"));
}

TEST_CASE("a folder that cannot be made is an Error that names it") {
  const TemporaryFolder folder;
  const auto m = make_small<Model>(true);
  put_contents(folder / "file", "");
  CHECK_THROWS_WITH(save_bridge_directory(*m, folder / "file/bridge"), Contains("file/bridge/adapter_model"));
  CHECK_THROWS_AS(save_bridge_directory(*m, folder / "file/bridge"), Error);
}
