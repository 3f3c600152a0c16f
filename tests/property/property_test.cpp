// Random compositions: what is drawn, and what each must hold to.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include <catch2/catch.hpp>

#include "compose/owed.hpp"
#include "property/pool.hpp"
#include "property/random.hpp"
#include "property/types.hpp"

namespace calm::test {

namespace {

constexpr std::array arrangements{Arrangement::right, Arrangement::left, Arrangement::packed};

/// Each link as it is, off, or scaled; at least one of them not off.
void draw_scales(Subject& s, std::uint64_t seed) {
  static constexpr std::array<double, 6> choices{1, 1, 1, 0, 0.5, -2};
  const auto scales = s.scales();
  for (std::size_t i = 0; i < scales.size(); ++i) *scales[i] = choices[below(seed, 51, i, choices.size())];
  *scales[below(seed, 52, 0, s.links)] = 1;
}

void check_run(std::uint64_t seed, MakeSubject make) {
  const auto s = make(seed), fresh = make(seed);
  const Arrangement how = arrangements[below(seed, 53, 0, 3)];
  const Texts texts = random_texts(1 + below(seed, 54, 0, 4), longest_text, s->vocab, seed);
  const Arranged batch = arrange(texts, how);
  INFO("texts: " << texts.size() << ", arrangement " << static_cast<int>(how));

  check_is_anchor(*fresh, batch);
  randomise(*s, seed + 100);
  s->set_scales(0);
  check_is_anchor(*s, batch);
  draw_scales(*s, seed);

  for (std::size_t i = 0; i < s->scales().size(); ++i) *fresh->scales()[i] = *s->scales()[i];
  check_owed(*s, *fresh, texts, how, seed);
}

}  // namespace

TEST_CASE("the compositions that are drawn have every kind, model and option") {
  std::set<Kind> kinds;
  std::set<std::size_t> anchors, augments, mixed;
  std::set<std::pair<BridgeMask, BridgeGate>> masks_and_gates;
  std::set<BridgeStart> starts;
  std::array<std::set<bool>, 9> switches;
  for (std::uint64_t type = 0; type < CALM_PROPERTY_TYPES; ++type) {
    const Plan plan = draw_plan(type);
    kinds.insert(plan.kind);
    anchors.insert(plan.anchor);
    for (std::size_t i = 0; i < plan.parts; ++i) {
      const BridgeConfig& b = plan.bridge[i];
      augments.insert(plan.augment[i]);
      mixed.insert(b.mix);
      masks_and_gates.emplace(b.mask, b.gate);
      starts.insert(b.start);
      const std::array on{b.rank > 0,        b.width > 0,         b.sink,           b.bias,            b.recency > 0,
                          b.normalise_query, b.normalise_augment, b.normalise_keys, b.normalise_output};
      for (std::size_t k = 0; k < on.size(); ++k) switches[k].insert(on[k]);
    }
  }
  CHECK(kinds.size() == 7);
  CHECK(anchors.size() == pool_size);
  CHECK(augments.size() == pool_size);
  CHECK(mixed.size() == 3);
  CHECK(masks_and_gates.size() == 12);
  CHECK(starts.size() == 2);
  for (const auto& either : switches) CHECK(either.size() == 2);
}

void check_type(std::uint64_t type, MakeSubject make) {
  const auto s = make(type);
  INFO("composition " << type << "\n" << s->description());
  check_counted(*s);
  check_can_learn(*s, arrange(random_texts(3, longest_text, s->vocab, type), Arrangement::right));
  for (std::uint64_t run = 0; run < runs_per_type; ++run) {
    INFO("run " << run);
    check_run(1000 * type + run, make);
  }
}

}  // namespace calm::test

// What is never drawn is never tested.
TEST_CASE("every option of a bridge and every way to join them is drawn") {
  using namespace calm;
  using namespace calm::test;
  std::array<std::size_t, 7> kinds{};
  std::array<std::size_t, 3> masks{};
  std::array<std::size_t, 4> gates{};
  std::map<std::string, std::size_t> drawn;
  for (std::uint64_t type = 0; type < CALM_PROPERTY_TYPES; ++type) {
    const Plan plan = draw_plan(type);
    ++kinds[static_cast<std::size_t>(plan.kind)];
    for (std::size_t i = 0; i < plan.parts; ++i) {
      const BridgeConfig& c = plan.bridge[i];
      ++masks[static_cast<std::size_t>(c.mask)];
      ++gates[static_cast<std::size_t>(c.gate)];
      drawn["raw anchor"] += !c.normalise_query;
      drawn["raw augment"] += !c.normalise_augment;
      drawn["normalised keys"] += c.normalise_keys;
      drawn["normalised output"] += c.normalise_output;
      drawn["zero gate"] += c.start == BridgeStart::zero_gate;
      drawn["no sink"] += !c.sink;
      drawn["bias"] += c.bias;
      drawn["recency"] += c.recency > 0;
      drawn["shared keys"] += c.kv_heads > 0;
      drawn["width"] += c.width > 0;
      drawn["rank"] += c.rank > 0;
      drawn["mix"] += c.mix > 1;
      drawn["one width"] += pool_configs[plan.anchor].hidden == pool_configs[plan.augment[i]].hidden;
      drawn["several links"] += plan.maps[i].there.size > 1;
    }
  }
  if (CALM_PROPERTY_TYPES < 40) return;
  for (const std::size_t n : kinds) CHECK(n >= 2);
  for (const std::size_t n : masks) CHECK(n >= 2);
  for (const std::size_t n : gates) CHECK(n >= 2);
  for (const auto& [what, n] : drawn) {
    INFO(what);
    CHECK(n >= 2);
  }
}
