// Looking inside a composition that runs on the GPU: what is said is what is said of the same one on the host.

#include "calm/compose/inspect.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/attention_weights.hpp"
#include "calm/compose/heat_map.hpp"
#include "calm/train/batch.hpp"
#include "compose/models.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Gated {
  static constexpr BridgeConfig config{.gate = BridgeGate::sigmoid};
};
template <class Device>
using Model = Compose<nn::Transformer<AnchorSpec, double, Device>, nn::Transformer<AugmentSpec, double, Device>,
                      SmallLinks, Gated>;

/// The same weights on either device.
template <class Device>
std::unique_ptr<Model<Device>> make() {
  auto m = std::make_unique<Model<Device>>();
  nn::initialise(m->anchor, {.seed = seed(), .deviation = 0.3});
  nn::initialise(m->augment, {.seed = seed() + 1, .deviation = 0.3});
  m->initialise_bridges(seed() + 2);
  nn::initialise_trainable(*m, {.seed = seed() + 3, .deviation = 0.3});
  return m;
}

template <class Device>
train::Minibatch<Device> texts() {
  std::vector<train::Example> examples(2);
  examples[0].tokens = {1, 2, 3, 4, 5, 6, 7};
  examples[1].tokens = {8, 9, 10};
  return train::collate<Device>(examples);
}

/// All numbers of a report.
std::vector<double> numbers(const Inspection& all) {
  std::vector<double> x;
  for (const LinkReport& r : all.links) {
    x.insert(x.end(), {r.scale, r.strength, r.sink.value_or(-1), r.share.value_or(-1)});
    x.insert(x.end(), r.gate.begin(), r.gate.end());
    for (const Moved& m : r.moved) x.insert(x.end(), {m.distance, m.start});
  }
  return x;
}

}  // namespace

TEST_CASE("cuda inspect: reports of links") {
  const auto report = []<class Device>(Device) {
    const auto batch = texts<Device>();
    return numbers(inspect(*make<Device>(), batch.tokens, batch.layout, seed() + 2));
  };
  const auto host = report(Cpu{}), gpu = report(Cuda{});
  REQUIRE(host.size() == gpu.size());
  require_close("report", host.size(), host.data(), gpu.data(), 100);
}

TEST_CASE("cuda inspect: attention weights and their picture") {
  const auto look = []<class Device>(Device) {
    const auto batch = texts<Device>();
    return attention_weights(*make<Device>(), 1, batch.tokens, batch.layout);
  };
  const auto host = look(Cpu{}), gpu = look(Cuda{});
  REQUIRE(host.keys.shape() == gpu.keys.shape());
  require_close("keys", host.keys.size(), host.keys.data(), gpu.keys.data(), 100);
  require_close("nothing", host.nothing.size(), host.nothing.data(), gpu.nothing.data(), 100);
  const std::vector<std::string> words{"a", "b"};
  REQUIRE(heat_map_svg(gpu, words, words, "a link").find("<svg") != std::string::npos);
}
