// What every bridge owes, whatever its options: a list of them, each between the same two small models.

#include <string>
#include <tuple>

#include <catch2/catch.hpp>

#include "calm/compose/bridge_file.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct Biased {
  static constexpr BridgeConfig config{.bias = true};
};
struct GroupedKeys {
  static constexpr BridgeConfig config{.kv_heads = 2};
};
struct OneKeyHead {
  static constexpr BridgeConfig config{.recency = 1, .bias = true, .kv_heads = 1};
};
struct Wider {  // 5 does not divide the anchor's 24
  static constexpr BridgeConfig config{.heads = 5, .width = 7};
};
struct LowRank {
  static constexpr BridgeConfig config{.rank = 3};
};
struct LowRankBiased {
  static constexpr BridgeConfig config{.sink = false, .bias = true, .rank = 16};
};
struct All {
  static constexpr BridgeConfig config{.heads = 6,
                                       .recency = 2,
                                       .gate = BridgeGate::tanh,
                                       .start = BridgeStart::zero_gate,
                                       .normalise_output = true,
                                       .bias = true,
                                       .kv_heads = 3,
                                       .width = 5,
                                       .rank = 4};
};
struct NormedKeys {
  static constexpr BridgeConfig config{.bias = true, .kv_heads = 2, .normalise_keys = true};
};
struct NormedKeysAlone {
  static constexpr BridgeConfig config{.normalise_keys = true};
};

using Configurations = std::tuple<bridge::Normalised, bridge::Paper, bridge::Local, Biased, GroupedKeys, OneKeyHead,
                                  Wider, LowRank, LowRankBiased, All, NormedKeys>;

/// Two augment layers on one anchor layer, and one of them on another.
using Links = LayerMap<Link<0, 1>, Link<2, 1>, Link<2, 2>>;

template <class Options>
using Model = Compose<SmallAnchor<double>, SmallAugment<double>, Links, Options>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("what every bridge owes, whatever its options", "", Configurations) {
  check_owed<Model<TestType>>();
}

TEST_CASE("the length of a key says nothing where keys are normalised") {
  using M = Model<NormedKeysAlone>;
  const auto s = subject<M>(true);
  const auto tokens = random_tokens(2, 7, 3);
  const auto before = s->logits(tokens, whole(2, 7));
  const auto scale_keys = [&](double by) {
    for (auto& bridge : s->model.bridges) {
      auto& w = bridge.k_proj.weight.mutable_value();
      for (std::size_t i = 0; i < w.size(); ++i) w.mutable_data()[i] *= by;
    }
  };
  scale_keys(8);
  CHECK(test::detail::largest_difference(before, s->logits(tokens, whole(2, 7))) < 1e-4);  // but for the norm's epsilon
  scale_keys(-1);
  CHECK(test::detail::largest_difference(before, s->logits(tokens, whole(2, 7))) > 1e-2);
}

TEST_CASE("the file names every option, and the older presets as it always did") {
  const auto text = [](auto options) {
    return calm::detail::options_text<typename Model<decltype(options)>::bridge_type>();
  };
  CHECK(text(bridge::Normalised{}) ==
        "heads=4 normalise_query=1 normalise_augment=1 sink=1 recency=0.000000 "
        "recency_octaves=8.000000 mask=causal");
  CHECK(text(All{}) ==
        "heads=6 normalise_query=1 normalise_augment=1 sink=1 recency=2.000000 "
        "recency_octaves=8.000000 mask=causal gate=tanh start=zero_gate normalise_output=1 bias=1 "
        "kv_heads=3 width=5 rank=4");
  CHECK_THAT(text(NormedKeys{}), Catch::EndsWith("mask=causal bias=1 kv_heads=2 normalise_keys=1"));
}
