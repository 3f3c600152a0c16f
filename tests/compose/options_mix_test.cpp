// Links that read a mix of layers.

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>

#include <catch2/catch.hpp>

#include "calm/compose/bridge_file.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct TwoMixed {
  static constexpr BridgeConfig config{.normalise_keys = true, .mix = 2};
};
struct ThreeMixed {
  static constexpr BridgeConfig config{.mix = 3};
};

}  // namespace

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
    CHECK(test::detail::largest_difference(mixed->logits(tokens, whole(2, 7)), alone->logits(tokens, whole(2, 7))) <
          1e-12);
  };
  check(subject<Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<0, 2>>>>(true), 0);
  check(subject<Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<1, 2>>>>(true), 1);
  check(subject<Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<2, 2>>>>(true), 2);
}

TEST_CASE("the file names a mix") {
  const std::string mixed = calm::detail::options_text<
      Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<1, 1>>, TwoMixed>::bridge_type>();
  CHECK_THAT(mixed, Catch::EndsWith("mask=causal normalise_keys=1 mix=2"));
}
