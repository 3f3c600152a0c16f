// What every bridge owes, whatever its options: a list of them, each between the same two small models.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/bridge_file.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"
#include "io/temporary_folder.hpp"
#include "support/gradient_check.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct GatePerHead {
  static constexpr BridgeConfig config{.gate = BridgeGate::tanh_per_head, .start = BridgeStart::zero_gate};
};
struct OpenGate {  // W_O is the zero factor, the gate begins at tanh 1
  static constexpr BridgeConfig config{.gate = BridgeGate::tanh};
};
struct OpenGatePerHead {
  static constexpr BridgeConfig config{.gate = BridgeGate::tanh_per_head, .bias = true};
};
struct Sigmoid {
  static constexpr BridgeConfig config{.gate = BridgeGate::sigmoid};
};
struct SigmoidOfRaw {
  static constexpr BridgeConfig config{.normalise_query = false, .sink = false, .gate = BridgeGate::sigmoid};
};
struct NormedOutput {
  static constexpr BridgeConfig config{
      .gate = BridgeGate::tanh, .start = BridgeStart::zero_gate, .normalise_output = true};
};
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
struct AllPerHead {
  static constexpr BridgeConfig config{
      .heads = 6, .gate = BridgeGate::sigmoid, .bias = true, .kv_heads = 3, .width = 5, .rank = 4};
};
struct NormedKeys {
  static constexpr BridgeConfig config{.bias = true, .kv_heads = 2, .normalise_keys = true};
};
struct NormedKeysAlone {
  static constexpr BridgeConfig config{.normalise_keys = true};
};
struct TwoMixed {
  static constexpr BridgeConfig config{.normalise_keys = true, .mix = 2};
};
struct ThreeMixed {
  static constexpr BridgeConfig config{.mix = 3};
};

using Configurations = std::tuple<bridge::Normalised, bridge::Paper, bridge::Local, bridge::Flamingo, bridge::DeepMind,
                                  GatePerHead, OpenGate, OpenGatePerHead, Sigmoid, SigmoidOfRaw, NormedOutput, Biased,
                                  GroupedKeys, OneKeyHead, Wider, LowRank, LowRankBiased, All, AllPerHead, NormedKeys>;

/// Two augment layers on one anchor layer, and one of them on another.
using Links = LayerMap<Link<0, 1>, Link<2, 1>, Link<2, 2>>;

template <class Options>
using Model = Compose<SmallAnchor<double>, SmallAugment<double>, Links, Options>;

/// Every parameter at random, those that training alone moves from their constants too.
template <class M>
void randomise(M& m, std::uint64_t seed) {
  nn::for_each_trainable(m, [&](const std::string& path, auto& p) {
    nn::detail::assign_normal(p, {seed, nn::detail::hash(path)}, 0.4);
  });
}

template <class X>
bool same_bits(const X& a, const X& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

template <class A, class B>
double worst_difference(const A& a, const B& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

template <class M>
void check_start(M& m) {
  const auto tokens = random_tokens(2, 8, 1);
  const std::vector<Index> lengths{8, 5};
  const auto layout = nn::pad_right<Cpu>(lengths, 8);
  CHECK(same_bits(m.anchor.logits(tokens, layout), value(m.logits(tokens, layout))));

  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    backward(m.loss(tokens, layout, tokens));
  }
  for (std::size_t i = 0; i < M::links; ++i) {  // one zero factor and no more: something can be learned
    double largest = 0;
    nn::for_each_trainable(m.bridges[i], [&](const std::string&, auto& p) {
      for (std::size_t k = 0; gradient(p) && k < p.value().size(); ++k) {
        largest = std::max(largest, std::abs(gradient(p)[k]));
      }
    });
    CHECK(largest > 1e-6);
  }
}

template <class M>
void check_causal(const M& m) {
  const auto layout = whole(1, 8);
  const auto tokens = random_tokens(1, 8, 2);
  const auto before = value(m.logits(tokens, layout));
  CHECK(worst_difference(before, m.anchor.logits(tokens, layout)) > 1e-3);  // the bridges do something
  for (std::size_t cut = 1; cut < 8; cut += 3) {
    auto other = tokens.clone();
    for (std::size_t t = cut; t < 8; ++t) other.mutable_data()[t] = (tokens[t] + 3) % 16;
    const auto after = value(m.logits(other, layout));
    for (std::size_t t = 0; t < cut; ++t) CHECK(row(before, 0, t) == row(after, 0, t));
    CHECK(row(before, 0, cut) != row(after, 0, cut));
  }
}

template <class M>
void check_cached(const M& m) {
  constexpr std::size_t time = 9;
  const auto tokens = random_tokens(2, time, 4);
  const auto full = value(m.logits(tokens, whole(2, time)));
  auto caches = m.make_caches(2, time);
  double worst = 0;
  for (std::size_t from = 0, count = 4; from < time; from += count, count = 1) {
    nn::Tokens<Cpu> part(Shape<Batch, Time>(2, count));
    for (std::size_t b = 0; b < 2; ++b) {
      std::copy_n(tokens.data() + b * time + from, count, part.mutable_data() + b * count);
    }
    const std::vector<Index> start(2, static_cast<Index>(from)), counts(2, static_cast<Index>(count)),
        last(2, static_cast<Index>(count - 1));
    const auto logits =
        m.next_logits(part, nn::continue_at<Cpu>(start, counts, count), nn::detail::per_text<Cpu>(last), caches);
    for (std::size_t b = 0; b < 2; ++b) {
      const auto expected = row(full, b, from + count - 1);
      for (std::size_t v = 0; v < 16; ++v) worst = std::max(worst, std::abs(logits[b * 16 + v] - expected[v]));
    }
  }
  CHECK(worst < 1e-10);
}

template <class B>
void check_folded(const B& bridge) {
  Tensor<double, Cpu, Batch, Source, nn::Hidden<AugmentSpec>> a(Shape<Batch, Source, nn::Hidden<AugmentSpec>>(1, 3));
  for (std::size_t i = 0; i < a.size(); ++i) a.mutable_data()[i] = static_cast<double>(random_normal({3, 1}, i));
  const auto folded = bridge.fold();
  CHECK(worst_difference(folded.keys(a), value(bridge.k_proj(bridge.proj(a)))) < 1e-12);
  CHECK(worst_difference(folded.values(a), value(bridge.v_proj(bridge.proj(a)))) < 1e-12);
}

template <class M>
void check_file(M& m) {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  save_bridges(m, path);
  const auto loaded = make_small<M>(false);
  load_bridges(*loaded, path);
  const auto tokens = random_tokens(1, 8, 5);
  CHECK(same_bits(value(m.logits(tokens, whole(1, 8))), value(loaded->logits(tokens, whole(1, 8)))));
}

template <class M>
void check_gradients_of_bridges(M& m) {
  const auto tokens = random_tokens(2, 6, 9);
  auto targets = random_tokens(2, 6, 10);
  const std::vector<Index> lengths{6, 4};
  const auto layout = nn::pad_right<Cpu>(lengths, 6);
  for (std::size_t t = 4; t < 6; ++t) targets.mutable_data()[6 + t] = ignored_target;
  nn::for_each_trainable(m, [](const std::string&, auto& p) { p.zero_gradient(); });
  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    backward(m.loss(tokens, layout, targets));
  }
  const auto loss = [&] { return value(m.loss(tokens, layout, targets))[0]; };
  nn::for_each_trainable(m, [&](const std::string& path, auto& p) {
    INFO(path);
    const auto* g = gradient(p);
    REQUIRE(g != nullptr);
    double worst = 0;
    for (std::size_t i = 0; i < p.value().size(); i += 1 + p.value().size() / 4) {
      const double numeric = slope_at(p.mutable_value().mutable_data()[i], 3e-4, loss);
      worst = std::max(worst, std::abs(numeric - g[i]) / std::max(1e-2, std::abs(numeric)));
    }
    CHECK(worst < 1e-6);
  });
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("what every bridge owes, whatever its options", "", Configurations) {
  using M = Model<TestType>;
  const auto m = make_small<M>(false);
  std::size_t counted = 0;
  nn::for_each_trainable(*m, [&](const std::string&, auto& p) { counted += p.value().size(); });
  CHECK(counted == M::trainable_parameters);
  check_start(*m);
  randomise(*m, 7);
  check_causal(*m);
  check_cached(*m);
  for (const auto& bridge : m->bridges) check_folded(bridge);
  check_file(*m);
  check_gradients_of_bridges(*m);
}

TEST_CASE("a link that mixes layers owes the same") {
  check_owed<Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<1, 1>, Link<3, 2>>, TwoMixed>>();
}

TEST_CASE("a link reads its own layer and those below it, by a softmax of one weight each") {
  // Where one weight is far above the others, the link reads that layer alone.
  using Links = LayerMap<Link<2, 2>>;
  const auto mixed = subject<Compose<SmallAnchor<double>, SmallAugment<double>, Links, ThreeMixed>>(true);
  const auto tokens = random_tokens(2, 7, 3);
  const auto check = [&](auto alone, std::size_t layer) {
    double* weights = mixed->model.bridges[0].mix.mutable_value().mutable_data();
    for (std::size_t j = 0; j < 3; ++j) weights[j] = j == layer ? 50 : -50;
    std::map<std::string, ParameterView> of_mixed;
    for (const ParameterView& p : mixed->parameters()) of_mixed.emplace(p.path, p);
    for (const ParameterView& p : alone->parameters()) std::copy_n(of_mixed.at(p.path).data, p.size, p.data);
    CHECK(worst_difference(mixed->logits(tokens, whole(2, 7)), alone->logits(tokens, whole(2, 7))) < 1e-12);
  };
  check(subject<Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<0, 2>>>>(true), 0);
  check(subject<Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<1, 2>>>>(true), 1);
  check(subject<Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<2, 2>>>>(true), 2);
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
  CHECK(worst_difference(before, s->logits(tokens, whole(2, 7))) < 1e-4);  // but for the norm's epsilon
  scale_keys(-1);
  CHECK(worst_difference(before, s->logits(tokens, whole(2, 7))) > 1e-2);
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
  const std::string mixed = calm::detail::options_text<
      Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<1, 1>>, TwoMixed>::bridge_type>();
  CHECK_THAT(mixed, Catch::EndsWith("mask=causal normalise_keys=1 mix=2"));
}
