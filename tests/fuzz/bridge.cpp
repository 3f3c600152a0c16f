// A folder of bridges. What says "peft_type" in its first bytes is adapter_config.json beside good weights, the rest
// adapter_model.safetensors beside a good adapter_config.json.
#include <string>

#include "calm/compose/bridge_directory.hpp"
#include "calm/compose/compose.hpp"
#include "calm/nn/initialise.hpp"
#include "fuzz/target.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;

struct Tiny {
  static constexpr nn::TransformerConfig config{.vocab = 2, .hidden = 4, .layers = 1, .heads = 1, .context = 2};
};
using Model = Compose<nn::Transformer<Tiny, float, Cpu>, nn::Transformer<Tiny, float, Cpu>, LayerMap<Link<0, 0>>>;

/// A composition, and the folder that was written of it.
struct Fixture {
  Model model;
  test::TemporaryFolder folder;
  std::string weights = folder / "adapter_model.safetensors", config = folder / "adapter_config.json";
  std::string good_weights, good_config;

  Fixture() {
    nn::initialise(model.anchor, {.seed = 1});
    nn::initialise(model.augment, {.seed = 2});
    model.initialise_bridges(3);
    save_bridge_directory(model, folder / "");
    good_weights = test::contents_of(weights);
    good_config = test::contents_of(config);
  }
};

}  // namespace

void calm::fuzz::read(std::string_view contents) {
  static Fixture fixture;
  const bool is_config = contents.substr(0, 16).find("peft_type") != contents.npos;
  test::put_contents(fixture.config, is_config ? contents : std::string_view(fixture.good_config));
  test::put_contents(fixture.weights, is_config ? fixture.good_weights : safetensors(contents));
  load_bridge_directory(fixture.model, fixture.folder / "");
}
