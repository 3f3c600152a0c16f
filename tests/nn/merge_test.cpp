#include "calm/nn/merge.hpp"

#include <cmath>
#include <cstddef>
#include <string>

#include <catch2/catch.hpp>

#include "calm/io/module_file.hpp"
#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

template <class S, class T, nn::LowRankLayers Layers>
void check_merged(double tolerance) {
  nn::Transformer<S, T, Cpu, nn::LowRank<3, 5, Layers>> tuned;
  nn::initialise(tuned, {.seed = 4, .deviation = 0.3});
  const auto tokens = random_tokens(2, 7, 1);
  const auto layout = whole(2, 7);
  const auto base = value(tuned.logits(tokens, layout));
  nn::for_each_trainable(tuned, [](const std::string& path, auto& p) {
    nn::detail::assign_normal(p, {9, nn::detail::hash(path)}, 0.3);
  });
  const std::string before = io::weights_sha256(tuned);
  auto plain = nn::merged(tuned);
  CHECK(io::weights_sha256(tuned) == before);
  const auto expected = value(tuned.logits(tokens, layout));
  const auto found = plain.logits(tokens, layout);
  double largest = 0, moved = 0, error = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    moved = std::max(moved, std::abs(static_cast<double>(expected[i] - base[i])));
    error = std::max(error, std::abs(static_cast<double>(expected[i] - found[i])));
  }
  CHECK(moved > 0.1 * largest);
  CHECK(error <= tolerance * largest);
}

}  // namespace

TEST_CASE("merged corrections compute the same, within rounding") {
  using nn::LowRankLayers;
  check_merged<AnchorSpec, double, LowRankLayers::all>(1e-13);
  check_merged<AnchorSpec, float, LowRankLayers::all>(2e-5);
  check_merged<AugmentSpec, double, LowRankLayers::attention>(1e-13);
}
