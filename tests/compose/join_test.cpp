#include "calm/compose/join.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/join_softmax.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct ThirdSpec {  // Gemma's kind
  static constexpr nn::TransformerConfig config{.vocab = 16,
                                                .hidden = 12,
                                                .layers = 3,
                                                .heads = 2,
                                                .context = 32,
                                                .norm = nn::NormKind::rms_plus_one,
                                                .mlp = nn::MlpKind::geglu};
};
struct GatedLowRank {
  static constexpr BridgeConfig config{.gate = BridgeGate::sigmoid, .rank = 3};
};

using Anchor = SmallAnchor<double>;
using First = With<SmallAugment<double>, SmallLinks>;
using Second =
    With<nn::Transformer<ThirdSpec, double, Cpu>, LayerMap<Link<0, 1>, Link<1, 1>, Link<2, 3>>, GatedLowRank>;
using Third = With<SmallAugment<double>, LayerMap<Link<3, 1>, Link<1, 2>>, bridge::Paper>;

using Two = Compose<Anchor, First, Second>;
using Three = Compose<Anchor, First, Second, Third>;

// However it is put together, it is one type.
static_assert(std::is_same_v<Compose<Compose<Anchor, First>, Second>, Two>);
static_assert(std::is_same_v<Compose<Two, Third>, Three>);
static_assert(std::is_same_v<Compose<Compose<Anchor, First>, Second, Third>, Three>);
static_assert(std::is_same_v<Compose<Anchor, join::Sum, First, Second>, Two>);
static_assert(std::is_same_v<Compose<Anchor, SmallAugment<double>, SmallLinks>, Compose<Anchor, First>>);
static_assert(std::is_same_v<Compose<Compose<Anchor, join::Router, First>, Second>,
                             Compose<Anchor, join::Router, First, Second>>);
static_assert(std::is_same_v<Compose<Compose<Anchor, join::JointSoftmax, First>, Second>,
                             Compose<Anchor, join::JointSoftmax, First, Second>>);
static_assert(Two::trainable_parameters ==
              Compose<Anchor, First>::trainable_parameters + Compose<Anchor, Second>::trainable_parameters);

struct Batch3 {
  nn::Tokens<Cpu> tokens = random_tokens(3, 8, 4), targets = random_tokens(3, 8, 5);
  nn::Layout<Cpu> layout = nn::pad_right<Cpu>(std::vector<Index>{8, 3, 6}, 8);
};

/// The path of the same parameter where branch i stands at place[i].
std::string moved(const std::string& path, const std::vector<std::size_t>& place) {
  for (const std::string prefix : {"augments.", "join."}) {
    if (!path.starts_with(prefix) || path[prefix.size()] < '0' || path[prefix.size()] > '9') continue;
    const std::size_t i = static_cast<std::size_t>(path[prefix.size()] - '0');
    return prefix + std::to_string(place[i]) + path.substr(prefix.size() + 1);
  }
  return path;
}

/// Other is Model with branch I at place Place[I]: the same logits, loss and gradients, bit for bit.
template <class Model, class Other, std::size_t... Place>
void check_order() {
  const auto a = subject<Model>(true);
  const auto b = subject<Other>(true, 50);
  const std::vector<std::size_t> place{Place...};
  b->model.anchor = a->model.anchor;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    ((b->model.template branch<Place>().augment = a->model.template branch<I>().augment), ...);
  }
  (std::make_index_sequence<sizeof...(Place)>{});
  std::map<std::string, ParameterView> of_b;
  for (const ParameterView& p : b->parameters()) of_b.emplace(p.path, p);
  for (const ParameterView& p : a->parameters()) {
    const ParameterView& q = of_b.at(moved(p.path, place));
    REQUIRE(p.size == q.size);
    std::copy_n(p.data, p.size, q.data);
  }

  const Batch3 x;
  CHECK(same_bits(a->logits(x.tokens, x.layout), b->logits(x.tokens, x.layout)));
  CHECK(a->loss(x.tokens, x.layout, x.targets) == b->loss(x.tokens, x.layout, x.targets));
  a->differentiate(x.tokens, x.layout, x.targets);
  b->differentiate(x.tokens, x.layout, x.targets);
  of_b.clear();
  for (const ParameterView& p : b->parameters()) of_b.emplace(p.path, p);
  CHECK(of_b.size() == a->parameters().size());
  for (const ParameterView& p : a->parameters()) {
    INFO(p.path);
    REQUIRE(p.gradient != nullptr);
    CHECK(std::equal(p.gradient, p.gradient + p.size, of_b.at(moved(p.path, place)).gradient));
  }
}

template <class Policy>
void check_orders() {
  check_order<Compose<Anchor, Policy, First, Second>, Compose<Anchor, Policy, Second, First>, 1, 0>();
  check_order<Compose<Anchor, Policy, First, Second, Third>, Compose<Anchor, Policy, Third, First, Second>, 1, 2, 0>();
}

}  // namespace

TEST_CASE("the order of augments changes no bit of a sum") { check_orders<join::Sum>(); }
TEST_CASE("the order of augments changes no bit of a joint softmax") { check_orders<join::JointSoftmax>(); }
TEST_CASE("the order of augments changes no bit of what a router weighs") { check_orders<join::Router>(); }

TEST_CASE("several augments owe what one does, however they are joined") {
  check_owed<Three>();
  check_owed<Compose<Anchor, join::JointSoftmax, First, Second, Third>>();
  check_owed<Compose<Anchor, join::Router, First, Second, Third>>();
}

TEST_CASE("an augment whose links are off is as if it were not there, bit for bit") {
  const auto both = subject<Two>(true);
  const auto one = subject<Compose<Anchor, First>>(true);
  one->model.anchor = both->model.anchor;
  one->model.augment = both->model.branch<0>().augment;
  const auto from = both->parameters();  // those of the first augment come first
  std::size_t next = 0;
  for (const ParameterView& p : one->parameters()) std::copy_n(from[next++].data, p.size, p.data);
  const Batch3 x;
  CHECK(!same_bits(both->logits(x.tokens, x.layout), one->logits(x.tokens, x.layout)));
  both->model.branch<1>().scale.fill(0);
  CHECK(same_bits(both->logits(x.tokens, x.layout), one->logits(x.tokens, x.layout)));

  both->differentiate(x.tokens, x.layout, x.targets);
  one->differentiate(x.tokens, x.layout, x.targets);
  const auto of_both = both->parameters();
  const auto of_one = one->parameters();
  for (std::size_t i = 0; i < of_one.size(); ++i) {
    REQUIRE(of_both[i].path == "augments.0." + of_one[i].path);
    CHECK(std::equal(of_one[i].gradient, of_one[i].gradient + of_one[i].size, of_both[i].gradient));
  }
  for (std::size_t i = of_one.size(); i < of_both.size(); ++i) CHECK(of_both[i].gradient == nullptr);

  const auto read = [&](Subject& s) {
    s.make_caches(3, 8);
    const std::vector<Index> start{0, 0, 0}, counts{8, 3, 6}, last{7, 2, 5};
    return s.next_logits(x.tokens, nn::continue_at<Cpu>(start, counts, 8), nn::detail::per_text<Cpu>(last));
  };
  CHECK(same_bits(read(*both), read(*one)));
}

TEST_CASE("a joint softmax is one attention over the keys of both augments and a null key") {
  using Late = LayerMap<Link<1, 3>>;  // the anchor's last layer: its states are h and what is added
  using Model = Compose<Anchor, join::JointSoftmax, With<SmallAugment<double>, Late>,
                        With<nn::Transformer<ThirdSpec, double, Cpu>, Late>>;
  const auto s = subject<Model>(true);
  const Model& m = s->model;
  constexpr std::size_t time = 7, heads = 4, width = 6, hidden = heads * width;
  const auto tokens = random_tokens(1, time, 3);
  const auto found = value(m.states(tokens, whole(1, time)));
  const auto features = m.features(tokens, whole(1, time));
  const auto& h = features.anchor;
  const auto pieces = [&](const auto& bridge, const auto& a) {
    const auto p = value(bridge.proj(bridge.norm_augment(a, 1e-6)));
    return std::array{test::detail::numbers(bridge.q_proj(bridge.norm_query(h, 1e-6))),
                      test::detail::numbers(bridge.k_proj(p)), test::detail::numbers(bridge.v_proj(p))};
  };
  const std::array qkv{pieces(m.branch<0>().bridges[0], std::get<0>(features.linked)[0]),
                       pieces(m.branch<1>().bridges[0], std::get<1>(features.linked)[0])};
  const std::array out{&m.branch<0>().bridges[0].o_proj.weight.value(),
                       &m.branch<1>().bridges[0].o_proj.weight.value()};

  double worst = 0, largest = 0;
  for (std::size_t t = 0; t < time; ++t) {
    std::array<std::array<double, hidden>, 2> read{};  // what the keys of each augment bring
    for (std::size_t n = 0; n < heads; ++n) {
      const auto weight = [&](std::size_t b, std::size_t at) {
        double dot = 0;
        for (std::size_t i = n * width; i < (n + 1) * width; ++i)
          dot += qkv[b][0][t * hidden + i] * qkv[b][1][at * hidden + i];
        return std::exp(dot / std::sqrt(static_cast<double>(width)));
      };
      double total = std::exp(m.joined.null[0].value()[n]);
      for (std::size_t b = 0; b < 2; ++b) {
        for (std::size_t at = 0; at <= t; ++at) total += weight(b, at);
      }
      for (std::size_t b = 0; b < 2; ++b) {
        for (std::size_t at = 0; at <= t; ++at) {
          for (std::size_t i = n * width; i < (n + 1) * width; ++i)
            read[b][i] += weight(b, at) / total * qkv[b][2][at * hidden + i];
        }
      }
    }
    for (std::size_t o = 0; o < hidden; ++o) {
      double added = 0;
      for (std::size_t b = 0; b < 2; ++b) {
        for (std::size_t i = 0; i < hidden; ++i) added += (*out[b])[o * hidden + i] * read[b][i];
      }
      worst = std::max(worst, std::abs(found[t * hidden + o] - h[t * hidden + o] - added));
      largest = std::max(largest, std::abs(added));
    }
  }
  CHECK(worst < 1e-12);
  CHECK(largest > 0.1);
}

TEST_CASE("what a router weighs adds up to one") {
  const auto one = subject<Compose<Anchor, First>>(true);
  const auto routed = subject<Compose<Anchor, join::Router, First, First>>(true);
  routed->model.anchor = one->model.anchor;
  const auto copy = [&](auto& branch) {
    branch.augment = one->model.augment;
    branch.bridges = one->model.bridges;
  };
  copy(routed->model.branch<0>());
  copy(routed->model.branch<1>());
  const Batch3 x;
  const auto expected = one->logits(x.tokens, x.layout);
  CHECK(test::detail::largest_difference(routed->logits(x.tokens, x.layout), expected) < 1e-11);
  routed->model.branch<1>().scale.fill(0);  // then one alone has all the weight
  CHECK(test::detail::largest_difference(routed->logits(x.tokens, x.layout), expected) < 1e-11);
}

TEST_CASE("a fresh router weighs all links behind a layer equally") {
  const auto fair = subject<Compose<Anchor, join::Router, First, Second>>(false, 3);
  const auto plain = subject<Two>(false, 3);
  fair->model.for_each_branch([&](auto i, auto& branch) {
    nn::initialise_trainable(branch, {.seed = 8, .deviation = 0.3});
    plain->model.branch<i>().bridges = branch.bridges;
  });
  // Behind layer 1 stand three links, behind 2 and 3 one each.
  plain->model.branch<1>().scale = {1 / 3., 1 / 3., 1};
  plain->model.branch<0>().scale = {1 / 3., 1};
  const Batch3 x;
  CHECK(test::detail::largest_difference(fair->logits(x.tokens, x.layout), plain->logits(x.tokens, x.layout)) < 1e-11);
}

TEST_CASE("a file names each augment, and is refused in another order") {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  subject<Two>(true)->save(path);
  const auto other = subject<Compose<Anchor, Second, First>>(true);
  CHECK_THROWS_WITH(other->load(path), Catch::Contains("the bridge's options (calm.augments.0.bridge) differ"));
}
